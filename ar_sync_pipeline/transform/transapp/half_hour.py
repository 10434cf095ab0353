"""Rule 3: the half hour of the local day in which an event was first reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql

from ar_sync_pipeline.transform.transapp.frames import read_frame
from ar_sync_pipeline.transform.transapp.local_time import LOCAL_CREATION
from ar_sync_pipeline.transform.transapp.receiver_tables import HALF_HOUR

Connection = psycopg.Connection[tuple[Any, ...]]

_HALF_HOURS = """
SELECT event.id, (
  SELECT half.id FROM {half_hour} half
  WHERE local.creation::time BETWEEN half.initial_time AND half.end_time
  ORDER BY half.id LIMIT 1
)
FROM {events} event
CROSS JOIN LATERAL (SELECT {local_creation} AS creation OFFSET 0) local
WHERE event.id = ANY (%s)
"""


def half_hours(connection: Connection, events: str, ids: Sequence[int]) -> pd.Series[Any]:
    """The ``halfhourperiod.id`` of each event, None where none holds it; indexed by event id."""
    query = sql.SQL(_HALF_HOURS).format(
        half_hour=sql.Identifier(HALF_HOUR),
        events=sql.Identifier(events),
        local_creation=LOCAL_CREATION,
    )
    return read_frame(connection, query, (list(ids),), columns=("id", "half_hour"))["half_hour"]
