"""``ar_sync.rejected_row``: what the transform could not compute, one entry per row and reason.

The table shows the present: an entry appears when a row is handled and something of it cannot be
computed, counts how often that was seen, and goes when the row is handled again without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[tuple[Any, ...]]


class Severity(StrEnum):
    """How much of a row is missing."""

    INFO = "info"
    """A detail: the row's result stands without it."""
    ERROR = "error"
    """The result itself is missing."""


@dataclass(frozen=True, order=True)
class Rejection:
    """One thing about one row that could not be computed.

    Attributes:
        primary_key: of the row, as text.
        step: which result.
        severity: how much is missing.
        reason: a fixed sentence; it never holds the row's data.
    """

    primary_key: str
    step: str
    severity: Severity
    reason: str


@dataclass(frozen=True)
class RejectedRows:
    """The present entries of one table, step and reason.

    Attributes:
        last_seen: when the newest of them was last handled, aware.
        example: one row's primary key.
        examples: the first rows' primary keys.
    """

    table: str
    step: str
    severity: Severity
    reason: str
    rows: int
    last_seen: datetime
    example: str
    examples: tuple[str, ...] = ()


# CREATE SCHEMA IF NOT EXISTS asks for CREATE on the database even where the schema exists
# (PostgreSQL manual, CREATE SCHEMA), so existence is looked at first.
_SCHEMA_EXISTS = "SELECT to_regnamespace('ar_sync') IS NOT NULL"
_TABLE_EXISTS = "SELECT to_regclass('ar_sync.rejected_row') IS NOT NULL"
_CREATE_TABLE = """
CREATE TABLE ar_sync.rejected_row (
  table_name text NOT NULL,
  primary_key text NOT NULL,
  step text NOT NULL,
  reason text NOT NULL,
  severity text NOT NULL CHECK (severity IN ('info', 'error')),
  first_seen timestamptz NOT NULL,
  last_seen timestamptz NOT NULL,
  times bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (table_name, primary_key, step, reason)
)
"""
_DELETE_OUTDATED = """
DELETE FROM ar_sync.rejected_row old
USING unnest(%(handled)s::text[]) AS handled (primary_key)
WHERE old.table_name = %(table)s AND old.primary_key = handled.primary_key
  AND NOT EXISTS (
    SELECT FROM unnest(%(keys)s::text[], %(steps)s::text[], %(reasons)s::text[])
      AS now (primary_key, step, reason)
    WHERE (now.primary_key, now.step, now.reason) = (old.primary_key, old.step, old.reason))
"""
_UPSERT = """
INSERT INTO ar_sync.rejected_row AS seen
  (table_name, primary_key, step, reason, severity, first_seen, last_seen)
SELECT %(table)s, key, step, reason, severity, %(now)s, %(now)s
FROM unnest(%(keys)s::text[], %(steps)s::text[], %(reasons)s::text[], %(severities)s::text[])
  AS now (key, step, reason, severity)
ON CONFLICT (table_name, primary_key, step, reason) DO UPDATE
SET last_seen = excluded.last_seen, times = seen.times + 1, severity = excluded.severity
"""
_COUNT = """
SELECT table_name, step, severity, reason, count(*), max(last_seen), min(primary_key),
  ARRAY(
    SELECT first.primary_key FROM ar_sync.rejected_row first
    WHERE (first.table_name, first.step, first.severity, first.reason)
        = (seen.table_name, seen.step, seen.severity, seen.reason)
    ORDER BY first.primary_key LIMIT 20)
FROM ar_sync.rejected_row seen GROUP BY 1, 2, 3, 4 ORDER BY 3, 1, 2, 4
"""
# Every table of the rules has an integer as its key; an entry of anybody else's is left alone.
_FORGET_DELETED = """
DELETE FROM ar_sync.rejected_row old
WHERE old.table_name = {name} AND old.primary_key ~ '^[0-9]{{1,18}}$'
  AND NOT EXISTS (SELECT FROM {table} WHERE id = old.primary_key::bigint)
"""


def prepare_rejected_rows(connection: Connection) -> None:
    """Create schema and table where they are missing."""
    with connection.transaction():
        if not _is_true(connection, _SCHEMA_EXISTS):
            connection.execute("CREATE SCHEMA ar_sync")
        if not _is_true(connection, _TABLE_EXISTS):
            connection.execute(_CREATE_TABLE)


def record_rejections(
    connection: Connection,
    table: str,
    handled: Sequence[int],
    rejections: Iterable[Rejection],
    *,
    now: datetime,
) -> None:
    """Make the entries of the handled rows exactly ``rejections``.

    Args:
        connection: inside the transaction that writes the rows' results.
        table: whose rows were handled.
        handled: primary keys of all rows handled, rejected or not.
        rejections: what could not be computed.
        now: aware; becomes first and last seen.
    """
    found = sorted(set(rejections))
    values = {
        "table": table,
        "handled": [str(key) for key in handled],
        "keys": [one.primary_key for one in found],
        "steps": [one.step for one in found],
        "reasons": [one.reason for one in found],
        "severities": [one.severity.value for one in found],
        "now": now,
    }
    if _is_true(connection, "SELECT EXISTS (SELECT FROM ar_sync.rejected_row)"):
        connection.execute(_DELETE_OUTDATED, values)
    if found:
        connection.execute(_UPSERT, values)


def forget_deleted_rows(connection: Connection, tables: Iterable[str]) -> None:
    """Remove the entries of rows that a load has deleted since."""
    if not _is_true(connection, "SELECT EXISTS (SELECT FROM ar_sync.rejected_row)"):
        return
    for table in tables:
        connection.execute(
            sql.SQL(_FORGET_DELETED).format(name=sql.Literal(table), table=sql.Identifier(table))
        )


def count_rejected_rows(connection: Connection) -> tuple[RejectedRows, ...]:
    """Return the present entries by severity, table, step and reason; none where no table is yet."""
    if not _is_true(connection, _TABLE_EXISTS):
        return ()
    return tuple(
        RejectedRows(table, step, Severity(severity), reason, rows, last_seen, one, tuple(first))
        for table, step, severity, reason, rows, last_seen, one, first in connection.execute(_COUNT)
    )


def _is_true(connection: Connection, query: str) -> bool:
    row = connection.execute(query).fetchone()
    return bool(row and row[0])
