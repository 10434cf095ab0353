"""Names of media files in the rows that are exported.

They are compared as the bytes of a file's name, not by the column's type: that may hold two names
for equal that differ in their letters (citext, a collation), or pad them (``character``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from psycopg import sql

from ar_sync_pipeline.catalog.model import TableRules
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.exported_table import ExportedTable


def media_references(
    connection: Connection,
    table: ExportedTable,
    rules: TableRules,
    keys: sql.Identifier | None = None,
) -> Iterator[str]:
    """Yield the distinct names in a table's media columns, inside a transaction.

    Args:
        keys: Relation of the chosen rows' keys; None: all rows.
    """
    source = sql.SQL("{} AS t").format(table.rows)
    if keys is not None:
        source = sql.SQL("{} JOIN {} AS k ON {}").format(source, keys, table.same_row("t", "k"))
    for column in rules.sent_media_columns:
        query = sql.SQL(
            "SELECT DISTINCT {0} FROM {1} WHERE {0} IS NOT NULL AND {0} <> ALL ({2}::text[])"
        ).format(_name(column), source, sql.Literal(list(rules.no_media_values)))
        with connection.cursor(name="ar_sync_media") as cursor:
            cursor.itersize = 5_000
            for (name,) in cursor.execute(query):
                yield name


def still_named(
    connection: Connection, table: ExportedTable, rules: TableRules, names: Collection[str]
) -> Iterator[str]:
    """Yield those of the names that a table's media columns contain."""
    for column in rules.sent_media_columns:
        query = sql.SQL("SELECT DISTINCT {0} FROM {1} AS t WHERE {0} = ANY ({2}::text[])").format(
            _name(column), table.rows, sql.Literal(list(names))
        )
        for (name,) in connection.execute(query):
            yield name


def _name(column: str) -> sql.Composed:
    return sql.SQL('{}::text COLLATE "C"').format(sql.Identifier("t", column))
