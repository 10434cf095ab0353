"""Copies of rows in temporary tables that have the shape and the key of their table."""

from __future__ import annotations

from collections.abc import ItemsView, Sequence

from psycopg import sql

from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.sql_parts import add_primary_key, column_list


class TemporaryCopies:
    """Copies by table; if a row is copied twice, the first copy is kept.

    Args:
        prefix: Prefix of the names of temporary tables, unique within the transaction.
    """

    def __init__(self, connection: Connection, references: References, prefix: str) -> None:
        self._connection = connection
        self._references = references
        self._prefix = prefix
        self._relations: dict[str, sql.Identifier] = {}

    def add(self, table: str, rows: sql.Composed) -> None:
        """Copy the rows that a query yields, with all columns of their table."""
        if table not in self._relations:
            self._relations[table] = self.create(str(len(self._relations)), table)
        self.insert(self._relations[table], rows)

    def insert(self, relation: sql.Identifier, rows: sql.Composed) -> None:
        """Copy the rows that a query yields to a table that `create` made."""
        self._connection.execute(
            sql.SQL("INSERT INTO {} {} ON CONFLICT DO NOTHING").format(relation, rows)
        )

    def __contains__(self, table: str) -> bool:
        """Return whether there are copies of a table."""
        return table in self._relations

    def __getitem__(self, table: str) -> sql.Identifier:
        """Return the temporary table of a table's copies."""
        return self._relations[table]

    def items(self) -> ItemsView[str, sql.Identifier]:
        """Return tables and the temporary tables of their copies."""
        return self._relations.items()

    def create(
        self,
        name: str,
        table: str,
        columns: Sequence[str] = (),
        source: sql.Identifier | None = None,
    ) -> sql.Identifier:
        """Create an empty temporary table with the key of a table.

        Args:
            name: Name of the temporary table, unique under the prefix.
            columns: Columns of the table; empty: all.
            source: Other table with the same key, whose columns are used.
        """
        facts = self._references.tables[table]
        relation = sql.Identifier("pg_temp", f"{self._prefix}_{name}")
        self._connection.execute(
            sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
                relation,
                column_list(columns) if columns else sql.SQL("*"),
                source or facts.relation,
            )
        )
        if facts.key:
            add_primary_key(self._connection, relation, facts.key)
        return relation
