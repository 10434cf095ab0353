"""Local time in SQL for rules 1 and 3: America/Santiago, whole seconds.

It follows the time zone database of the server, including daylight saving time (old system, D24:
weekday and hour were taken in UTC).
"""

from __future__ import annotations

from typing import Final

from psycopg import sql

TIME_ZONE: Final = "America/Santiago"

# A timestamp at the edge of PostgreSQL's range cannot be converted to another time zone, and the
# error would stop the whole batch. A time outside of the years 2 to 9998 has no local time here.
LOCAL_CREATION: Final = sql.SQL(
    """date_trunc('second', CASE
      WHEN event."timeCreation" BETWEEN '0002-01-01 00:00Z' AND '9998-12-31 00:00Z'
      THEN event."timeCreation" AT TIME ZONE {}
    END)"""
).format(sql.Literal(TIME_ZONE))
"""Expression for the creation of an event in local time; NULL if there is none."""
