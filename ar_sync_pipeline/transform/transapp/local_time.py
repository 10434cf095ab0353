"""Local time in SQL, as rules 1 and 3 read it: America/Santiago, whole seconds.

The server's own time-zone rules are used (the system's tz database), daylight saving included
(old system, D24: weekday and hour were taken in UTC).
"""

from __future__ import annotations

from typing import Final

from psycopg import sql

TIME_ZONE: Final = "America/Santiago"

# A stamp at the edge of PostgreSQL's range cannot be moved to another zone: an error that would
# stop every row of the batch. What is outside of the years 2 to 9998 has no local time here.
LOCAL_CREATION: Final = sql.SQL(
    """date_trunc('second', CASE
      WHEN event."timeCreation" BETWEEN '0002-01-01 00:00Z' AND '9998-12-31 00:00Z'
      THEN event."timeCreation" AT TIME ZONE {}
    END)"""
).format(sql.Literal(TIME_ZONE))
"""The expression for an event's creation in local time; NULL where there is none."""
