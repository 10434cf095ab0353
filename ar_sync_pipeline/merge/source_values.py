"""The sender's values of columns that the transform changes in place, in tables of the ledger.

Such a table has the key of its table. It depends on no type and no collation of the application,
whose migrations would fail otherwise: instead of a value of such a type it has the text that
digests hash, and is compared by it. `source_tables` creates and converts the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql

from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import PrintedValue, printed_value
from ar_sync_pipeline.postgres.sql_parts import is_null
from ar_sync_pipeline.postgres.table_facts import ColumnFacts

C_COLLATION = ("pg_catalog", "C")


def column_of(target: TargetTable, name: str) -> ColumnFacts:
    """Return the receiver's column, which is one of the key or a transformed one."""
    column = target.facts.column(name)
    if column is None:
        raise AssertionError(name)
    return column


def is_printed(target: TargetTable, column: ColumnFacts) -> bool:
    """Return whether the text of a value is stored instead of the value.

    The key is also looked up by its collation, which one of the application cannot lend.
    """
    return column.type_schema is not None or (
        column.name in target.key and has_own_collation(column)
    )


def has_own_collation(column: ColumnFacts) -> bool:
    """Return whether the collation of a column is one of the application."""
    return column.collation is not None and column.collation[0] != "pg_catalog"


def stored_value(
    target: TargetTable, name: str, alias: str, named: str | None = None
) -> sql.Composable:
    """Return what is stored for a value of the key or of a transformed column of a row.

    Args:
        named: Name of the column in ``alias``; None: its own.
    """
    column, value = column_of(target, name), sql.Identifier(alias, named or name)
    if is_printed(target, column):
        return printed_value(value)
    return sql.SQL('{} COLLATE "C"').format(value) if has_own_collation(column) else value


def digested_value(target: TargetTable, name: str, alias: str) -> sql.Composable:
    """Return a stored value as digests read it."""
    value = sql.Identifier(alias, name)
    return PrintedValue([value]) if is_printed(target, column_of(target, name)) else value


def sent_value(
    connection: Connection, target: TargetTable, name: str, alias: str, scratch: str
) -> sql.Composable:
    """Return a stored value of a transformed column in the column's type.

    Args:
        scratch: Name for a temporary table, unique within the transaction. A stored text is that of
            a row, which only the type of such a row reads.
    """
    value = sql.Identifier(alias, name)
    if not is_printed(target, column_of(target, name)):
        return value
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} AS v FROM {} LIMIT 0").format(
            sql.Identifier("pg_temp", scratch), sql.Identifier(name), target.rows
        )
    )
    return sql.SQL("({}::{}).v").format(value, sql.Identifier("pg_temp", scratch))


def same_source(
    target: TargetTable, row: str, source: str, named: Sequence[str] = ()
) -> sql.Composed:
    """Return the condition that the stored values ``source`` are those of the row ``row``.

    Args:
        named: Names of the key's columns in ``row``; empty: their own.
    """
    operators = target.facts.key_operators or ("=",) * len(target.key)
    conditions = [
        sql.SQL("{} {} {}").format(
            stored_value(target, name, row, other),
            sql.SQL("OPERATOR(pg_catalog.=)" if printed else operator),
            sql.Identifier(source, name),
        )
        for name, other, operator in zip(target.key, named or target.key, operators, strict=True)
        for printed in (is_printed(target, column_of(target, name)),)
    ]
    return sql.SQL(" AND ").join(conditions)


def sent_values(target: TargetTable) -> tuple[sql.Composed, dict[str, sql.Composable]]:
    """Return the rows as ``t``, and by transformed column the value as last sent and stored.

    A row without stored values has what was sent.
    """
    source = sql.SQL("{} AS t").format(target.rows)
    if not target.transformed:
        return source, {}
    joined = sql.SQL("({} LEFT JOIN {} AS s ON {})").format(
        source, target.source_values, same_source(target, "t", "s")
    )
    return joined, {
        name: sql.SQL("CASE WHEN {unknown} THEN {held} ELSE {sent} END").format(
            unknown=is_null("s", target.key[0]),
            held=stored_value(target, name, "t"),
            sent=sql.Identifier("s", name),
        )
        for name in target.transformed
    }


def as_stored(
    target: TargetTable, values: Mapping[str, sql.Composable], alias: str
) -> dict[str, sql.Composable]:
    """Return expressions for columns, with those for transformed columns as they are stored.

    Args:
        values: By column, an expression to read instead of it.
        alias: Alias of the rows.
    """
    stored = {
        name: printed_value(values.get(name, sql.Identifier(alias, name)))
        for name in target.transformed
        if is_printed(target, column_of(target, name))
    }
    return {**values, **stored}
