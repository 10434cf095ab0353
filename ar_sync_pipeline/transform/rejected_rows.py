"""``ar_sync.rejected_row``: results that the transform could not compute, by row and reason.

An entry is added when a result of a row cannot be computed, counts repetitions, and is removed
when the row is handled again without the failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger_tables import creating_tables, ensure_schema
from ar_sync_pipeline.postgres.scalar import scalar

FEW_REFUSED_ROWS: Final = 5
"""As many refused rows of a table, without another one that gets results, are an error."""


class Severity(StrEnum):
    """Severity of a rejection."""

    INFO = "info"
    """A detail is missing; the result is usable."""
    ERROR = "error"
    """The result is missing."""


@dataclass(frozen=True, order=True)
class Rejection:
    """One result of one row that could not be computed.

    Attributes:
        primary_key: Primary key of the row, as text.
        step: Name of the result.
        severity: How much is missing.
        reason: Fixed sentence, which never contains data of the row.
    """

    primary_key: str
    step: str
    severity: Severity
    reason: str


@dataclass(frozen=True)
class RejectedRows:
    """Current entries of one table, step and reason.

    Attributes:
        last_seen: Time when the newest of them was last handled, aware.
        examples: Primary keys of the first rows.
    """

    table: str
    step: str
    severity: Severity
    reason: str
    rows: int
    last_seen: datetime
    examples: tuple[str, ...]


_TABLE_EXISTS = "SELECT to_regclass('ar_sync.rejected_row') IS NOT NULL"
_ANY_REJECTED = "SELECT EXISTS (SELECT FROM ar_sync.rejected_row)"
_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS ar_sync.rejected_row (
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
_RECORDED_BEFORE = """
SELECT primary_key, step, reason FROM ar_sync.rejected_row
WHERE table_name = %s AND primary_key = ANY (%s::text[]) AND first_seen <= %s
"""
_COUNT = """
SELECT table_name, step, severity, reason, count(*), max(last_seen),
  ARRAY(
    SELECT first.primary_key FROM ar_sync.rejected_row first
    WHERE (first.table_name, first.step, first.severity, first.reason)
        = (seen.table_name, seen.step, seen.severity, seen.reason)
    ORDER BY first.primary_key LIMIT 20)
FROM ar_sync.rejected_row seen GROUP BY 1, 2, 3, 4 ORDER BY 3, 1, 2, 4
"""
# Every table of the rules has an integer key; entries of other tables are not touched.
_FORGET_DELETED = """
DELETE FROM ar_sync.rejected_row old
WHERE old.table_name = {name} AND old.primary_key ~ '^[0-9]{{1,18}}$'
  AND NOT EXISTS (SELECT FROM {table} WHERE id = old.primary_key::bigint)
"""


def prepare_rejected_rows(connection: Connection) -> None:
    """Create the schema and the table if they are missing."""
    ensure_schema(connection)
    if not scalar(connection, _TABLE_EXISTS):
        with creating_tables(connection):
            connection.execute(_CREATE_TABLE)


def has_rejected_rows(connection: Connection) -> bool:
    """Return whether any row is recorded as rejected."""
    return bool(scalar(connection, _TABLE_EXISTS) and scalar(connection, _ANY_REJECTED))


def record_rejections(
    connection: Connection,
    table: str,
    handled: Sequence[int],
    rejections: Iterable[Rejection],
    *,
    now: datetime,
) -> None:
    """Replace the entries of the handled rows by ``rejections``.

    Args:
        connection: Connection in the transaction that writes the results.
        table: Table of the rows.
        handled: Primary keys of all handled rows, rejected or not.
        rejections: Results that could not be computed.
        now: Current time, aware; becomes first and last seen.
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
    if scalar(connection, _ANY_REJECTED):
        connection.execute(_DELETE_OUTDATED, values)
    if found:
        connection.execute(_UPSERT, values)


def recorded_before(
    connection: Connection, table: str, rejections: Sequence[Rejection], *, before: datetime
) -> list[Rejection]:
    """Return those of ``rejections`` that were first recorded at ``before`` or earlier."""
    keys = [one.primary_key for one in rejections]
    found = set(connection.execute(_RECORDED_BEFORE, (table, keys, before)).fetchall())
    return [one for one in rejections if (one.primary_key, one.step, one.reason) in found]


def forget_deleted_rows(connection: Connection, tables: Iterable[str]) -> None:
    """Remove the entries of deleted rows."""
    if not scalar(connection, _ANY_REJECTED):
        return
    for table in tables:
        connection.execute(
            sql.SQL(_FORGET_DELETED).format(name=sql.Literal(table), table=sql.Identifier(table))
        )


def count_rejected_rows(connection: Connection) -> tuple[RejectedRows, ...]:
    """Return the entries by severity, table, step and reason; none if the table is missing."""
    if not scalar(connection, _TABLE_EXISTS):
        return ()
    return tuple(
        RejectedRows(table, step, Severity(severity), reason, rows, last_seen, tuple(first))
        for table, step, severity, reason, rows, last_seen, first in connection.execute(_COUNT)
    )
