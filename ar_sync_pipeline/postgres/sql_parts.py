"""Parts of statements, and short ones, that exports and merges share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar

TRUE = sql.SQL("true").format()
FALSE = sql.SQL("false").format()


def column_list(names: Iterable[str], alias: str | None = None) -> sql.Composed:
    """Return quoted column names, comma separated, each qualified by ``alias`` if one is given."""
    return sql.SQL(", ").join(
        sql.Identifier(alias, name) if alias else sql.Identifier(name) for name in names
    )


def equal(
    left: str, right: str, columns: Sequence[str], operators: Sequence[str] = ()
) -> sql.Composed:
    """Return ``left.a = right.a AND ...`` over columns, each by its operator."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} {} {}").format(
            sql.Identifier(left, column), sql.SQL(operator), sql.Identifier(right, column)
        )
        for column, operator in zip(columns, operators or ("=",) * len(columns), strict=True)
    )


def assignments(values: Mapping[str, sql.Composable]) -> sql.Composed:
    """Return the assignments of an UPDATE, comma separated."""
    return sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in values.items()
    )


def is_null(alias: str, name: str) -> sql.Composed:
    """Return the condition that a column is NULL, or that an outer join found no row for it.

    ``IS NULL`` also holds for a composite value whose fields are all NULL (manual, 9.2).
    """
    return sql.SQL("{} IS NOT DISTINCT FROM NULL").format(sql.Identifier(alias, name))


def any_null(alias: str, names: Iterable[str]) -> sql.Composed:
    """Return the condition that one of the columns is NULL."""
    return sql.SQL("({})").format(sql.SQL(" OR ").join(is_null(alias, name) for name in names))


def exists(connection: Connection, rows: sql.Composable) -> bool:
    """Return whether ``FROM rows`` yields a row; ``rows`` may end with a WHERE."""
    return bool(scalar(connection, sql.SQL("SELECT EXISTS (SELECT FROM {})").format(rows)))


def relation_exists(connection: Connection, relation: sql.Identifier) -> bool:
    """Return whether a table or view exists."""
    query = "SELECT pg_catalog.to_regclass(%s) IS NOT NULL"
    return bool(scalar(connection, query, [relation.as_string(connection)]))


def add_primary_key(connection: Connection, table: sql.Composable, names: Iterable[str]) -> None:
    """Make columns the primary key of a table."""
    query = sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})")
    connection.execute(query.format(table, column_list(names)))
