"""The receiver's tables as one load sees them, and empty copies of them for its transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.merge.target_table import TargetTable, equal_keys
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.shipped_table import column_list
from ar_sync_pipeline.postgres.table_facts import TableFacts


@dataclass(frozen=True)
class LoadTables:
    """A load's connection, and what is known of the tables behind it.

    Attributes:
        facts: of every table of the receiver's schema, by name.
        targets: the tables that travel, by name.
    """

    connection: Connection
    schema: str
    facts: Mapping[str, TableFacts]
    targets: Mapping[str, TargetTable]

    def named(self, table: str) -> sql.Identifier:
        """A table, quoted and qualified."""
        return sql.Identifier(self.schema, table)

    def same_row(self, left: str, right: str, table: str) -> sql.Composed:
        """The condition that two aliases mean the same row of a table."""
        return equal_keys(left, right, self.facts[table].primary_key)

    def empty_copy(self, name: str, table: str, query: sql.Composable) -> sql.Identifier:
        """Make an empty temporary table in the shape of a query, with the key of a table.

        Args:
            name: of the temporary table, unique within the transaction.
        """
        relation = sql.Identifier("pg_temp", name)
        self.connection.execute(
            sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS {} WITH NO DATA").format(
                relation, query
            )
        )
        self.connection.execute(
            sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(
                relation, column_list(self.facts[table].primary_key)
            )
        )
        return relation
