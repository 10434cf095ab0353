"""Rule 3: half hour of the local day in which an event was first reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.transform.transapp.frames import id_array, read_frame
from ar_sync_pipeline.transform.transapp.local_time import LOCAL_CREATION
from ar_sync_pipeline.transform.transapp.receiver_tables import HALF_HOUR

# OFFSET 0 prevents the planner from computing the time again for each compared half hour.
_HALF_HOURS = """
SELECT local.id, (
  SELECT min(half.id) FROM {half_hour} half
  WHERE local.time BETWEEN half.initial_time AND half.end_time
)
FROM (
  SELECT id, {local_creation}::time AS time FROM {events} event WHERE id = ANY (%s::int[]) OFFSET 0
) local
"""


def half_hours(connection: Connection, events: str, ids: Sequence[int]) -> pd.Series[Any]:
    """Return the ``halfhourperiod.id`` of each event by event id; None if there is none."""
    query = sql.SQL(_HALF_HOURS).format(
        half_hour=sql.Identifier(HALF_HOUR),
        events=sql.Identifier(events),
        local_creation=LOCAL_CREATION,
    )
    return read_frame(connection, query, (id_array(ids),), columns=("id", "half_hour"))["half_hour"]
