"""Rule 1: period of the day, by day type, in which an event was first reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.transform.transapp.frames import id_array, read_frame
from ar_sync_pipeline.transform.transapp.local_time import LOCAL_CREATION
from ar_sync_pipeline.transform.transapp.receiver_tables import TIME_PERIOD

# The ISO day of the week: 6 is Saturday, 7 Sunday (PostgreSQL manual, 9.9.1, isodow).
# OFFSET 0 prevents the planner from computing day and time again for each compared period.
_TIME_PERIODS = """
SELECT local.id, (
  SELECT min(period.id) FROM {time_period} period
  WHERE period.day_type = local.day_type
    AND local.time BETWEEN period.initial_time AND period.end_time
)
FROM (
  SELECT id, creation::time AS time,
    CASE extract(isodow FROM creation)
      WHEN 6 THEN 'Sábado' WHEN 7 THEN 'Domingo' ELSE 'Laboral' END AS day_type
  FROM (
    SELECT id, {local_creation} AS creation FROM {events} event WHERE id = ANY (%s::int[])
  ) created
  OFFSET 0
) local
"""


def time_periods(connection: Connection, events: str, ids: Sequence[int]) -> pd.Series[Any]:
    """Return the ``timeperiod.id`` of each event by event id; None if there is none.

    Args:
        connection: Connection to the receiver.
        events: Table of the events.
        ids: Ids of the events.
    """
    query = sql.SQL(_TIME_PERIODS).format(
        time_period=sql.Identifier(TIME_PERIOD),
        events=sql.Identifier(events),
        local_creation=LOCAL_CREATION,
    )
    return read_frame(connection, query, (id_array(ids),), columns=("id", "period"))["period"]
