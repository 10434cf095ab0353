"""A receiver's table in a load: which columns are replicated, and which are receiver-only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Column, TableManifest
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.merge.row_identity import RowIdentity, identity_of
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger_tables import LEDGER_SCHEMA
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.session_settings import parallel_workers
from ar_sync_pipeline.postgres.table_facts import TableFacts, UniqueKey
from ar_sync_pipeline.postgres.unique_columns import further_unique_keys, source_columns

_MAX_IDENTIFIER = 63


@dataclass(frozen=True)
class TargetTable:
    """A replicated table, at the receiver.

    Attributes:
        columns: Shared columns, with the sender's types.
        facts: Facts of the table in the receiver's database; its key is the one that the archive
            uses.
        rules: Rules of the catalog for the table.
    """

    columns: tuple[Column, ...]
    facts: TableFacts
    rules: TableRules

    @property
    def name(self) -> str:
        """Label of the table in the catalog."""
        return self.facts.name

    @property
    def relation(self) -> sql.Identifier:
        """Name of the table, quoted and qualified."""
        return self.facts.relation

    @property
    def rows(self) -> sql.Composed:
        """The table's rows, without those of tables that inherit from it."""
        return self.facts.rows

    @property
    def key(self) -> tuple[str, ...]:
        """Columns of the key; empty if there is none."""
        return self.facts.key

    @property
    def identity(self) -> RowIdentity:
        """The key, or the place of rows if there is none."""
        return identity_of(self.facts)

    def same_row(self, left: str, right: str) -> sql.Composed:
        """Return the condition that two aliases mean the same row."""
        return self.facts.same_row(left, right)

    @property
    def shared(self) -> tuple[str, ...]:
        """Names of the shared columns."""
        return tuple(column.name for column in self.columns)

    @property
    def receiver_only(self) -> tuple[str, ...]:
        """Names of the receiver-only columns, without generated ones."""
        return tuple(
            column.name
            for column in self.facts.columns
            if column.name not in self.shared and not column.generated
        )

    @property
    def fixed(self) -> tuple[str, ...]:
        """Shared columns that PostgreSQL does not update: ``GENERATED ALWAYS AS IDENTITY``."""
        shared = set(self.shared)
        return tuple(c.name for c in self.facts.columns if c.always_identity and c.name in shared)

    @property
    def transformed(self) -> tuple[str, ...]:
        """Shared columns that the transform changes in place.

        The sender's values are stored by the key, so there are none without one or in it.
        """
        if not self.key:
            return ()
        names = self.rules.rewritten_by_transform
        return tuple(name for name in names if name in self.shared and name not in self.key)

    @property
    def source_values(self) -> sql.Identifier:
        """Table in the ledger's schema for the sender's values of columns transformed in place."""
        return sql.Identifier(LEDGER_SCHEMA, name_of_source_values(self.name))

    def unique_keys(self) -> tuple[UniqueKey, ...]:
        """Return the unique keys and exclusion constraints that the key does not imply."""
        return further_unique_keys(self.facts)

    def columns_of(self, unique: UniqueKey) -> tuple[str, ...]:
        """Return the columns that decide a row's unique value; for generated ones, the sources."""
        return source_columns(self.facts, unique.uses)

    def defaults(self) -> dict[str, sql.Composable]:
        """Return the catalog's resets of receiver-only columns for a new or changed row."""
        resets: dict[str, sql.Composable] = {
            name: sql.Literal(value) for name, value in sorted(self.rules.reset_on_change.items())
        }
        resets |= {name: sql.SQL("NULL") for name in self.rules.clear_on_change}
        return {name: value for name, value in resets.items() if name in self.receiver_only}

    @property
    def transforms_again(self) -> bool:
        """Whether a changed row waits for the transform, by the marks of `defaults`."""
        return not self.defaults().keys().isdisjoint(self.rules.reset_on_change)


def name_of_source_values(table: str) -> str:
    """Return the name of `TargetTable.source_values`."""
    name = f"source_{table}"
    if len(name.encode()) > _MAX_IDENTIFIER:
        name = f"source_{hashlib.sha256(table.encode()).hexdigest()[:32]}"
    return name


def target_tables(
    catalog: Catalog, tables: Mapping[str, TableFacts], exported: Sequence[TableManifest]
) -> dict[str, TargetTable]:
    """Return the targets of an archive's tables, restricted to what both sides have."""
    targets = {}
    for table in exported:
        if table.name not in tables or not catalog.replicates(table.name):
            continue
        facts = tables[table.name]
        rules = catalog.rules(table.name)
        columns = tuple(
            column
            for column in table.columns
            if (held := facts.column(column.name)) is not None
            and not held.generated
            and column.name not in rules.not_replicated
        )
        # A key that the sender has lost still identifies the rows here, with what depends on them.
        if table.primary_key or not {*facts.key} <= {column.name for column in columns}:
            facts = with_key(facts, table.primary_key)
        targets[table.name] = TargetTable(columns, facts, rules)
    return targets


def replicated_tables(catalog: Catalog, tables: Mapping[str, TableFacts]) -> dict[str, TargetTable]:
    """Return every replicated table of the receiver, as far as it is known without an archive."""
    return {
        name: TargetTable(
            tuple(
                Column(name=column.name, type=column.type, nullable=column.nullable)
                for column in facts.columns
                if not column.generated and column.name not in catalog.rules(name).not_replicated
            ),
            facts,
            catalog.rules(name),
        )
        for name, facts in tables.items()
        if catalog.replicates(name)
    }


def with_key(facts: TableFacts, key: Sequence[str]) -> TableFacts:
    """Return the facts with the key that an archive uses, which may differ from the receiver's."""
    operators = {
        column: operator
        for unique in facts.unique_keys
        if unique.identifies and set(unique.plain) == set(key)
        for column, operator in zip(unique.plain, unique.operators, strict=True)
    }
    if len(operators) != len(key):
        return replace(facts, key=(), key_operators=()) if not key else facts
    return replace(facts, key=tuple(key), key_operators=tuple(operators[name] for name in key))


def row_of(names: Sequence[str], alias: str) -> sql.Composed:
    """Return the columns as one record, for comparison to the bit with ``*<>`` (manual, 9.25.6).

    Without the cast PostgreSQL would compare column by column.
    """
    return record_of(sql.Identifier(alias, name) for name in names)


def record_of(values: Iterable[sql.Composable]) -> sql.Composed:
    """Return values as one record, as `row_of` does with columns."""
    return sql.SQL("ROW({})::record").format(sql.SQL(", ").join(values))


def count_rows(connection: Connection, facts: TableFacts) -> int:
    """Return how many rows a table has."""
    query = sql.SQL("SELECT count(*) FROM {}").format(facts.rows)
    with parallel_workers(connection):
        return int(scalar(connection, query))
