"""Rule 6: which way the bus went, from the poses that the same phone sent before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql

from ar_sync_pipeline.transform.transapp.frames import read_frame
from ar_sync_pipeline.transform.transapp.receiver_tables import POSE, TOKEN

Connection = psycopg.Connection[tuple[Any, ...]]

# Poses and questions of a phone are merged into one sequence in time and read once: each question
# takes the pose before it. No index serves "latest pose of a phone" (old system, section 6), and
# one sort of the poses concerned beats a search per question.
_DIRECTIONS = """
WITH asked AS MATERIALIZED (
  SELECT id, "phoneId" AS phone, "timeStamp" AS at FROM {source} WHERE id = ANY (%s)
), known AS (
  SELECT token."phoneId" AS phone, pose."timeStamp" AS at, pose.id, token.direction
  FROM (SELECT phone, max(at) AS at FROM asked GROUP BY phone) latest
  JOIN {token} token ON token."phoneId" = latest.phone
  JOIN {pose} pose ON pose.token_id = token.id AND pose."timeStamp" <= latest.at
), sequence AS (
  SELECT phone, at, false AS is_question, id, direction FROM known
  UNION ALL
  SELECT phone, at, true, id, NULL FROM asked
), numbered AS (
  SELECT *, count(*) FILTER (WHERE NOT is_question) OVER
    (PARTITION BY phone ORDER BY at, is_question, id ROWS UNBOUNDED PRECEDING) AS pose_number
  FROM sequence
), answered AS (
  SELECT id, is_question, first_value(direction) OVER
    (PARTITION BY phone, pose_number ORDER BY at, is_question, id) AS direction
  FROM numbered
)
SELECT id, direction FROM answered WHERE is_question AND direction IS NOT NULL
"""


def directions(connection: Connection, source: str, ids: Sequence[int]) -> pd.Series[Any]:
    """The direction of each row's phone at the row's ``timeStamp``.

    Args:
        connection: to the receiver.
        source: table with ``id``, ``phoneId`` and ``timeStamp``: bus events or reports.
        ids: which rows.

    Returns:
        Indexed by row id; rows without a pose before them, or whose token has no direction,
        are absent.
    """
    query = sql.SQL(_DIRECTIONS).format(
        source=sql.Identifier(source), token=sql.Identifier(TOKEN), pose=sql.Identifier(POSE)
    )
    return read_frame(connection, query, (list(ids),), columns=("id", "direction"))["direction"]
