"""Values that the receiver still has in columns that the sender no longer sends."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from psycopg import sql

from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts

_LONGEST_SEARCH = "3s"


def values_left(
    connection: Connection, table: TableFacts, column: ColumnFacts
) -> Iterator[Finding]:
    """Yield a finding if an excluded column has values other than NULL and its default.

    They may come from archives that were made before the column was excluded. Before the first
    load they are the receiver's own: do not call it then.
    """
    if "SELECT" in table.denied or table.policies or not (column.nullable or column.has_default):
        return  # reported as a missing right, or as a column that needs a value
    if not column.has_constant_default:
        return  # each row may have another default
    subject = f"column {column.name} of table {table.name}"
    try:
        found = _any_other(connection, table, column)
    except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable):
        yield Finding(
            Level.NOTE,
            f"{subject} is in `exclude`, and it takes too long to find out whether the receiver"
            " still has values in it",
            f"look for them with psql: {_emptying(connection, table, column)} removes them",
        )
        return
    if found:
        statement = _emptying(connection, table, column)
        yield Finding(
            Level.WARNING,
            f"{subject} is in `exclude`, and the receiver has values in it, which archives before"
            " this rule may have brought",
            f"{statement}, unless they are the receiver's own",
            sql=f"{statement};",
        )


def _any_other(connection: Connection, table: TableFacts, column: ColumnFacts) -> bool:
    name, type_ = sql.Identifier(column.name), sql.SQL(column.type)
    # As text, since some types, such as json, have no equality.
    query = sql.SQL(
        "SELECT EXISTS (SELECT FROM {rows} WHERE {name} IS DISTINCT FROM NULL"
        " AND {name}::text IS DISTINCT FROM ({default})::{type}::text)"
    ).format(rows=table.rows, name=name, default=sql.SQL(column.expression or "NULL"), type=type_)
    with connection.transaction():
        connection.execute("SELECT set_config('statement_timeout', %s, true)", [_LONGEST_SEARCH])
        with default_search_path(connection):
            return bool(scalar(connection, query))


def _emptying(connection: Connection, table: TableFacts, column: ColumnFacts) -> str:
    """Return the statement that removes the values; NULL also fits a unique column."""
    template = "UPDATE {0} SET {1} = DEFAULT"
    if column.nullable:
        template = "UPDATE {0} SET {1} = NULL WHERE {1} IS DISTINCT FROM NULL"
    statement = sql.SQL(template).format(table.relation, sql.Identifier(column.name))
    return statement.as_string(connection)
