"""Counts rows that wait for the transform, and those that have waited too long.

``reset_on_change`` in the catalog tells how a load marks a row for the transform. No column has the
time, so each call records a snapshot of the database: a row version that was visible N minutes ago
has waited for N minutes (PostgreSQL manual, 5.5 "System Columns", xmin; 9.27.9 "Transaction ID and
Snapshot Information Functions").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import LockWaitError
from ar_sync_pipeline.postgres.ledger_tables import ensure_schema
from ar_sync_pipeline.postgres.session_settings import application_settings, default_search_path
from ar_sync_pipeline.transform.rejected_rows import FEW_REFUSED_ROWS, has_rejected_rows
from ar_sync_pipeline.transform.transapp.report import RULES, WRITE

_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS ar_sync.transform_mark (
  seen_at timestamptz PRIMARY KEY,
  snapshot pg_snapshot NOT NULL
)
"""
_MARK = """
INSERT INTO ar_sync.transform_mark VALUES (%s, pg_current_snapshot())
ON CONFLICT (seen_at) DO NOTHING
"""
# A snapshot of another cluster (this database was restored) has no meaning here.
_FORGET_FOREIGN = """
DELETE FROM ar_sync.transform_mark
WHERE pg_snapshot_xmax(snapshot) > pg_snapshot_xmax(pg_current_snapshot())
"""
_OLD_SNAPSHOT = """
SELECT seen_at, snapshot::text FROM ar_sync.transform_mark
WHERE seen_at <= %s ORDER BY seen_at DESC LIMIT 1
"""
_FORGET_OLDER = "DELETE FROM ar_sync.transform_mark WHERE seen_at < %s"
# The type to which a value is converted, and whether it has equality, which an index may serve. A
# type of the application's own may be out of reach of the role, and json has no equality: the texts
# are compared then.
_PRESENT_COLUMNS = """
SELECT a.attname,
  CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace
       THEN format_type(t.oid, CASE WHEN d.typtype = 'd' THEN d.typtypmod ELSE a.atttypmod END)
       ELSE 'text' END,
  EXISTS (SELECT FROM pg_operator o WHERE o.oprname = '=' AND o.oprleft = t.oid
          AND o.oprright = t.oid AND o.oprnamespace = 'pg_catalog'::regnamespace)
FROM pg_attribute a
JOIN pg_type d ON d.oid = a.atttypid
JOIN pg_type t ON t.oid = coalesce(nullif(d.typbasetype, 0), d.oid)
WHERE a.attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND a.attnum > 0
  AND NOT a.attisdropped
"""
# xmin is the lower half of a 64-bit number; no xmin is older than one cycle of that half.
_COUNT = """
SELECT count(*), count(*) FILTER (WHERE too_old), count(*) FILTER (WHERE too_old AND refused)
FROM (
  SELECT {refused} AS refused, pg_visible_in_snapshot(
    greatest(next_id - mod(mod(next_id, {turn}) - xmin::text::bigint + {turn}, {turn}), 0)
      ::text::xid8,
    {old}::pg_snapshot) AS too_old
  FROM {table}, (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint) AS now (next_id)
  WHERE {waits}
) AS waiting
"""
_REFUSED = """
id::text IN (SELECT primary_key FROM ar_sync.rejected_row
             WHERE table_name = {table} AND step IN ({write}, {rules}))
"""
_TURN = 2**32


@dataclass(frozen=True)
class WaitingRows:
    """Untransformed rows of one table.

    Attributes:
        table: Name of the table.
        rows: Number of rows.
        too_old: Number of rows that have waited longer than the limit; 0 if they are fewer than
            ``FEW_REFUSED_ROWS`` and the transform has recorded each of them as refused.
    """

    table: str
    rows: int
    too_old: int


@dataclass(frozen=True)
class _Marks:
    """Conditions for the rows that wait, and for those of them that are recorded as refused."""

    waits: sql.Composable
    refused: sql.Composable


def count_waiting_rows(
    connection: Connection,
    catalog: Catalog,
    *,
    now: datetime,
    limit: timedelta,
    excuse_refused: bool = True,
) -> tuple[WaitingRows, ...]:
    """Count the rows that the catalog marks for the transform.

    A row is too old if two calls, at least ``limit`` apart, came after its load. So the first call
    finds none, and frequent calls make the limit more exact.

    Args:
        connection: Connection in autocommit mode; the role may write in schema ``ar_sync``.
        catalog: Catalog with ``reset_on_change`` marks; tables and columns that this database lacks
            are ignored.
        now: Current time, aware.
        limit: Longest wait of a row.
        excuse_refused: Whether few rows that the transform has recorded as refused may wait longer.

    Raises:
        LockWaitError: Another session locks one of the tables.
    """
    with connection.transaction():
        old_snapshot = _move_marks(connection, now, limit)
    may_be_refused = excuse_refused and has_rejected_rows(connection)
    conditions = tuple(_conditions(connection, catalog, may_be_refused=may_be_refused))
    return tuple(
        _count(connection, table, catalog.locate(table), marks, old_snapshot)
        for table, marks in conditions
    )


def _count(
    connection: Connection,
    table: str,
    place: tuple[str, str],
    marks: _Marks,
    old_snapshot: str | None,
) -> WaitingRows:
    """Count the rows of a table, in a transaction that locks no other table."""
    query = sql.SQL(_COUNT).format(
        table=sql.Identifier(*place),
        waits=marks.waits,
        refused=marks.refused,
        turn=sql.Literal(_TURN),
        old=sql.Literal(old_snapshot),
    )
    # A load writes the values with the settings of the application.
    with (
        connection.transaction(),
        application_settings(connection),
        default_search_path(connection),
    ):
        try:
            # Without parameters: a name may contain the sign of a placeholder.
            ((rows, too_old, refused),) = connection.execute(query).fetchall()
        except psycopg.errors.LockNotAvailable as error:
            raise _locked(table) from error
    return WaitingRows(table, rows, 0 if too_old == refused < FEW_REFUSED_ROWS else too_old)


def _locked(table: str) -> LockWaitError:
    return LockWaitError(
        f"the rows that wait for the transform cannot be counted, since another session locks"
        f" {table}",
        remedy="it is tried again; end that session if it was forgotten",
    )


def _move_marks(connection: Connection, now: datetime, limit: timedelta) -> str | None:
    """Record the current snapshot; return one that is at least ``limit`` old, if any."""
    ensure_schema(connection)
    connection.execute(_CREATE_TABLE)
    connection.execute(_FORGET_FOREIGN)
    connection.execute(_MARK, (now,))
    found = connection.execute(_OLD_SNAPSHOT, (now - limit,)).fetchone()
    if found is None:
        return None
    seen_at, snapshot = found
    connection.execute(_FORGET_OLDER, (seen_at,))
    return str(snapshot)


def _conditions(
    connection: Connection, catalog: Catalog, *, may_be_refused: bool
) -> Iterator[tuple[str, _Marks]]:
    for table, rules in sorted(catalog.table.items()):
        if not rules.reset_on_change or not catalog.replicates(table):
            continue
        found = connection.execute(_PRESENT_COLUMNS, catalog.locate(table)).fetchall()
        columns = {name: type_and_equality for name, *type_and_equality in found}
        present = {k: v for k, v in rules.reset_on_change.items() if k in columns}
        marks = [
            _mark(name, value, columns[name][0], is_comparable=columns[name][1])
            for name, value in _marking(present).items()
        ]
        if marks:
            has_id = "id" in columns
            refused = _refused(table) if may_be_refused and has_id else sql.SQL("false")
            yield table, _Marks(sql.SQL(" OR ").join(marks), refused)


def _marking(values: Mapping[str, object]) -> Mapping[str, object]:
    """Leave out what is reset beside the only flag, such as a counter or the text of an error."""
    flags = {name: value for name, value in values.items() if isinstance(value, bool)}
    return flags if len(flags) == 1 else values


def _mark(name: str, value: object, type_name: str, *, is_comparable: bool) -> sql.Composed:
    """Return the condition that a column has its value after a load, or none."""
    column = sql.Identifier(name)
    reset = sql.SQL("CAST({} AS {})").format(sql.Literal(value), sql.SQL(type_name))
    if is_comparable:
        return _is_or_null(column, reset)
    return _is_or_null(*(sql.SQL("{}::text").format(one) for one in (column, reset)))


def _is_or_null(value: sql.Composable, reset: sql.Composable) -> sql.Composed:
    return sql.SQL("({0} IS NULL OR {0} OPERATOR(pg_catalog.=) {1})").format(value, reset)


def _refused(table: str) -> sql.Composed:
    return sql.SQL(_REFUSED).format(
        table=sql.Literal(table), write=sql.Literal(WRITE), rules=sql.Literal(RULES)
    )
