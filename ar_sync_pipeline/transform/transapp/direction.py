"""Rule 6: direction of the bus, from earlier poses of the same phone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.transform.transapp.frames import id_array, read_frame
from ar_sync_pipeline.transform.transapp.receiver_tables import POSE, TOKEN

# Poses and questions of a phone are merged into one sequence in time and sorted once: each question
# takes the pose before it. No index serves "latest pose of a phone" (old system, section 6), and
# one sort of the poses concerned beats a search per question.
# "The last pose so far" is a running maximum over place-in-the-sequence and direction packed into
# one number, because PostgreSQL's last_value cannot skip the questions (manual, 9.22: IGNORE NULLS
# is not implemented) and a second window with another order would sort again.
_DIRECTIONS = """
WITH asked AS MATERIALIZED (
  SELECT id, "phoneId" AS phone, "timeStamp" AS at FROM {source} WHERE id = ANY (%s::int[])
), known AS (
  SELECT token."phoneId" AS phone, pose."timeStamp" AS at, pose.id,
    coalesce(ascii(token.direction), 0) AS direction
  FROM (SELECT phone, max(at) AS at FROM asked GROUP BY phone) latest
  JOIN {token} token ON token."phoneId" = latest.phone
  JOIN {pose} pose ON pose.token_id = token.id AND pose."timeStamp" <= latest.at
), placed AS (
  SELECT *, row_number() OVER in_time AS place
  FROM (
    SELECT phone, at, false AS is_question, id, direction FROM known
    UNION ALL
    SELECT phone, at, true, id, NULL FROM asked
  ) mixed
  WINDOW in_time AS (PARTITION BY phone ORDER BY at, is_question, id)
), answered AS (
  SELECT id, is_question, max(place * {code_points} + direction) OVER
    (PARTITION BY phone ORDER BY at, is_question, id ROWS UNBOUNDED PRECEDING) AS last_pose
  FROM placed
)
SELECT id, chr((last_pose %% {code_points})::int)
FROM answered WHERE is_question AND last_pose %% {code_points} > 0
"""
_CODE_POINTS = 2**21


def directions(connection: Connection, source: str, ids: Sequence[int]) -> pd.Series[Any]:
    """Return the direction of each row's phone at the row's ``timeStamp``.

    Args:
        connection: Connection to the receiver.
        source: Table with ``id``, ``phoneId`` and ``timeStamp``: bus events or reports.
        ids: Ids of the rows.

    Returns:
        Directions by row id, without rows that have no earlier pose or whose token has no
        direction.
    """
    query = sql.SQL(_DIRECTIONS).format(
        source=sql.Identifier(source),
        token=sql.Identifier(TOKEN),
        pose=sql.Identifier(POSE),
        code_points=sql.Literal(_CODE_POINTS),
    )
    return read_frame(connection, query, (id_array(ids),), columns=("id", "direction"))["direction"]
