"""Position of an event: that of its statistic with the latest ``timeStamp``.

Rules 5 and 7 use it. Of equal times the highest id counts; an event without statistics has no
position (old system, D29).
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.transform.transapp.frames import id_array, read_frame

_POSITIONS = """
SELECT asked.id, latest.longitude, latest.latitude
FROM unnest(%s::int[]) AS asked (id)
CROSS JOIN LATERAL (
  SELECT statistic.longitude, statistic.latitude
  FROM {statistics} statistic
  WHERE statistic."reportOfEvent_id" = asked.id
  ORDER BY statistic."timeStamp" DESC, statistic.id DESC LIMIT 1
) latest
"""


def latest_positions(connection: Connection, statistics: str, ids: Sequence[int]) -> pd.DataFrame:
    """Return positions as stored, also invalid ones.

    Args:
        connection: Connection to the receiver.
        statistics: Table of the statistics.
        ids: Ids of the events.

    Returns:
        ``longitude`` and ``latitude`` (float) by event id, without events that have no statistics.
    """
    query = sql.SQL(_POSITIONS).format(statistics=sql.Identifier(statistics))
    columns = ("id", "longitude", "latitude")
    return read_frame(connection, query, (id_array(ids),), columns=columns).astype(float)


def on_earth(positions: pd.DataFrame) -> pd.DataFrame:
    """Return the valid positions: longitude in [-180, 180] and latitude in [-90, 90]."""
    is_valid = positions["longitude"].between(-180, 180) & positions["latitude"].between(-90, 90)
    return positions[is_valid]
