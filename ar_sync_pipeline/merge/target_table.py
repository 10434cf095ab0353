"""A receiver's table as a load sees it: what is shared, what is the receiver's own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Column, TableManifest
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger import LEDGER_SCHEMA
from ar_sync_pipeline.postgres.shipped_table import column_list
from ar_sync_pipeline.postgres.table_facts import TableFacts

_MAX_IDENTIFIER = 63


@dataclass(frozen=True)
class TargetTable:
    """A table that travels, at the receiver.

    Attributes:
        columns: the shared columns, with the sender's types.
        facts: what the receiver's database says of the table.
        rules: what the catalog says of it.
    """

    schema: str
    columns: tuple[Column, ...]
    facts: TableFacts
    rules: TableRules

    @property
    def name(self) -> str:
        """The table's name."""
        return self.facts.name

    @property
    def relation(self) -> sql.Identifier:
        """The table, quoted and qualified."""
        return sql.Identifier(self.schema, self.name)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """Columns of the primary key."""
        return self.facts.primary_key

    @property
    def shared(self) -> tuple[str, ...]:
        """Names of the shared columns."""
        return tuple(column.name for column in self.columns)

    @property
    def own(self) -> tuple[str, ...]:
        """Names of the columns that only the receiver has; generated ones left out."""
        return tuple(
            column.name
            for column in self.facts.columns
            if column.name not in self.shared and not column.generated
        )

    @property
    def rewritten(self) -> tuple[str, ...]:
        """Shared columns that the transform rewrites in place."""
        return tuple(name for name in self.rules.rewritten_by_transform if name in self.shared)

    @property
    def source_values(self) -> sql.Identifier:
        """The table beside the ledger that keeps the sender's values of rewritten columns."""
        name = f"source_{self.name}"
        if len(name.encode()) > _MAX_IDENTIFIER:
            name = f"source_{hashlib.sha256(self.name.encode()).hexdigest()[:32]}"
        return sql.Identifier(LEDGER_SCHEMA, name)

    def unique_keys(self) -> tuple[tuple[str, ...], ...]:
        """Unique keys over shared columns, other than those that contain the primary key."""
        return tuple(
            key
            for key in (k.plain for k in self.facts.unique_keys if k.plain)
            if set(key) <= set(self.shared) and not set(self.primary_key) <= set(key)
        )


def target_tables(
    catalog: Catalog, tables: Mapping[str, TableFacts], shipped: Sequence[TableManifest]
) -> dict[str, TargetTable]:
    """The receiver's side of shipped tables, restricted to what both sides have."""
    targets = {}
    for table in shipped:
        if table.name not in tables:
            continue
        facts = tables[table.name]
        rules = catalog.rules(table.name)
        columns = tuple(
            column
            for column in table.columns
            if facts.column(column.name) is not None and column.name not in rules.receiver_columns
        )
        targets[table.name] = TargetTable(catalog.schema_name, columns, facts, rules)
    return targets


def equal_keys(left: str, right: str, key: Sequence[str]) -> sql.Composed:
    """``left.a = right.a AND ...`` over the columns of a key."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(left, column), sql.Identifier(right, column))
        for column in key
    )


def row_of(names: Sequence[str], alias: str) -> sql.Composed:
    """The columns as one record, for comparison to the bit with ``*<>`` (manual, 9.25.6).

    Without the cast PostgreSQL would compare column by column.
    """
    return sql.SQL("ROW({})::record").format(column_list(names, alias))


def count_rows(connection: Connection, schema: str, table: str) -> int:
    """How many rows a table has."""
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
    row = connection.execute(query).fetchone()
    return row[0] if row else 0
