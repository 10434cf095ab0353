"""Selection of a partial's rows: changed rows, their children, and all that they refer to.

The keys of the chosen rows are collected in temporary tables of the dump's session, one per table,
by set-based statements under the archive's snapshot. A read-only transaction may write temporary
tables but not create them, so `prepare_keys` runs before it starts. A table without a key is
exported whole if any of its rows is chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Watermark, Window
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.export.changed_at import changed_within
from ar_sync_pipeline.export.unseen import unseen_by
from ar_sync_pipeline.postgres.checks.rights import columns_read
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.sql_parts import add_primary_key, column_list, exists
from ar_sync_pipeline.postgres.table_facts import ForeignKey, TableFacts


@dataclass(frozen=True)
class Selection:
    """Criteria of the rows of a partial.

    Attributes:
        changed_at: Half-open interval of `changed_at`; the time and author of the write do not
            matter.
        since: Earlier snapshot; rows that it could not see are chosen. None: only the interval
            counts.
        look_back: How much older than their transaction's start the timestamps of rows may be, in
            tables that are too large to be read for the watermark.
        clock_is_unproved: Whether the database's clock may have gone back further, so that the
            timestamps in these tables prove nothing.
        rereads: Whether these tables are read for the watermark all the same, because of it.
    """

    changed_at: Window
    since: Watermark | None
    look_back: timedelta
    clock_is_unproved: bool = False
    rereads: bool = False


def prepare_keys(
    connection: Connection, tables: Mapping[str, TableFacts]
) -> dict[str, sql.Identifier]:
    """Create an empty temporary table of keys for each table with a key; before the snapshot."""
    relations = {
        name: sql.Identifier("pg_temp", f"ar_sync_keys_{number}")
        for number, name in enumerate(sorted(tables))
        if tables[name].key
    }
    for name, relation in relations.items():
        connection.execute(
            sql.SQL("CREATE TEMP TABLE {} AS SELECT {} FROM {} WITH NO DATA").format(
                relation, column_list(tables[name].key), tables[name].relation
            )
        )
        add_primary_key(connection, relation, tables[name].key)
    return relations


def select_rows(
    connection: Connection,
    catalog: Catalog,
    tables: Mapping[str, TableFacts],
    keys: Mapping[str, sql.Identifier],
    selection: Selection,
    redefined: Collection[str],
) -> frozenset[str]:
    """Fill the key tables: changed rows, their children, then everything that they refer to.

    Args:
        redefined: Tables whose definition changed, so that their rows do not show what changed.

    Returns:
        Tables to export whole, whatever their key tables contain.

    Raises:
        SchemaError: The database does not know a time zone of the catalog.
    """
    whole = {name for name in redefined if reads_watermark(catalog, tables[name])}
    collector = _KeyCollector(connection, tables, keys, whole)
    references = [
        key
        for facts in tables.values()
        for key in facts.foreign_keys
        if key.referenced_table in tables and _is_sent(key, catalog.rules(facts.name), facts)
    ]
    for facts in tables.values():
        condition = changed_rows(connection, catalog, facts, selection)
        if condition is not None:
            collector.choose(facts, condition)
    to_children = [k for k in references if k.table in catalog.rules(k.referenced_table).children]
    # Children may have children of their own.
    while any(collector.add_children(key) for key in to_children):
        pass
    pending = {key.table for key in references}
    while pending:
        pending = {
            key.referenced_table
            for key in references
            if key.table in pending and collector.add_parents(key)
        }
    return frozenset(collector.whole)


def _is_sent(key: ForeignKey, rules: TableRules, facts: TableFacts) -> bool:
    """Return whether a foreign key's columns are exported.

    Otherwise the rows that it selects would reveal them.
    """
    read = {*key.columns} <= {*columns_read(rules, facts)}
    return read and not any(rules.emptied(column) for column in key.columns)


@dataclass(frozen=True)
class _KeyCollector:
    """The chosen rows: by their keys, or all rows of a table in ``whole``."""

    connection: Connection
    tables: Mapping[str, TableFacts]
    keys: Mapping[str, sql.Identifier]
    whole: set[str] = field(default_factory=set)

    def choose(self, facts: TableFacts, condition: sql.Composable) -> bool:
        """Add the rows of a table that meet a condition on ``t``; return whether any is new."""
        source = sql.SQL("{} AS t WHERE {}").format(facts.rows, condition)
        return self._add(facts.name, "t", source)

    def add_children(self, key: ForeignKey) -> bool:
        """Add the rows that refer to chosen rows; return whether any is new."""
        refers = key.refers("wanted", "known")
        return self._follow(known=key.referenced_table, wanted=key.table, refers=refers)

    def add_parents(self, key: ForeignKey) -> bool:
        """Add the rows that chosen rows refer to; return whether any is new."""
        refers = key.refers("known", "wanted")
        return self._follow(known=key.table, wanted=key.referenced_table, refers=refers)

    def _follow(self, *, known: str, wanted: str, refers: sql.Composable) -> bool:
        chosen = self._chosen(known)
        if chosen is None:
            return False
        source = sql.SQL("{} JOIN {} AS wanted ON {}").format(
            chosen, self.tables[wanted].rows, refers
        )
        return self._add(wanted, "wanted", source)

    def _chosen(self, name: str) -> sql.Composed | None:
        """Return the chosen rows of a table as ``known``; None: no key, and none is chosen."""
        facts = self.tables[name]
        if name in self.whole:
            return sql.SQL("{} AS known").format(facts.rows)
        if not facts.key:
            return None
        return sql.SQL("{} AS held JOIN {} AS known ON {}").format(
            self.keys[name], facts.rows, facts.same_row("held", "known")
        )

    def _add(self, name: str, alias: str, source: sql.Composable) -> bool:
        if name in self.whole:
            return False
        facts = self.tables[name]
        if facts.key:
            statement = sql.SQL(
                "INSERT INTO {} SELECT DISTINCT {} FROM {} ON CONFLICT DO NOTHING"
            ).format(self.keys[name], column_list(facts.key, alias), source)
            return self.connection.execute(statement).rowcount > 0
        if not exists(self.connection, source):
            return False
        self.whole.add(name)
        return True


def untracked_tables(
    catalog: Catalog,
    tables: Mapping[str, TableFacts],
    selection: Selection,
    redefined: Collection[str],
) -> tuple[str, ...]:
    """Return the tables whose changes a partial may miss until the next complete.

    They are too large to be read for the watermark. In addition, they have no timestamp column, or
    it is not known when the oldest writing transaction began, or their definition changed, or
    the clock of their timestamps may have been set back.
    """
    since, read = selection.since, reread_tables(catalog, tables, selection)
    unknown_start = since is not None and since.oldest_write_at is None
    return tuple(
        name
        for name, facts in tables.items()
        if not reads_watermark(catalog, facts)
        and (
            catalog.rules(name).changed_at is None
            or unknown_start
            or name in redefined
            or (selection.clock_is_unproved and name not in read)
        )
    )


def reread_tables(
    catalog: Catalog, tables: Mapping[str, TableFacts], selection: Selection
) -> tuple[str, ...]:
    """Return the large tables that a partial reads because their timestamps prove nothing.

    ``watermark = false`` forbids it.
    """
    return tuple(
        name
        for name, facts in tables.items()
        if selection.rereads and not reads_watermark(catalog, facts)
        if catalog.rules(name).changed_at is not None and catalog.rules(name).watermark is None
    )


def reads_watermark(catalog: Catalog, facts: TableFacts) -> bool:
    """Return whether a partial reads a whole table to find rows unseen by an earlier snapshot."""
    chosen = catalog.rules(facts.name).watermark
    return facts.size_mb <= catalog.watermark_limit_mb if chosen is None else chosen


def changed_rows(
    connection: Connection, catalog: Catalog, facts: TableFacts, selection: Selection
) -> sql.Composable | None:
    """Return the condition for changed rows ``t`` of a table; None: they cannot be told."""
    rules, since, interval = catalog.rules(facts.name), selection.since, selection.changed_at
    conditions: list[sql.Composable] = []
    if rules.changed_at is not None:
        conditions.append(
            changed_within(
                connection, rules, facts, interval.start, interval.end, until=interval.end
            )
        )
    is_reread = facts.name in reread_tables(catalog, {facts.name: facts}, selection)
    if since is not None and (is_reread or reads_watermark(catalog, facts)):
        conditions.append(unseen_by(since))
    elif since is not None and rules.changed_at is not None:
        start = (since.oldest_write_at or since.snapshot_at) - selection.look_back
        until = max(since.snapshot_at, interval.end)
        conditions.append(changed_within(connection, rules, facts, start, None, until=until))
    return sql.SQL(" OR ").join(conditions) if conditions else None
