"""Which rows a partial carries: what changed, what belongs to it, and all that it refers to.

The keys of the chosen rows are collected in temporary tables of the dump's session, one a table,
by set-based statements under the archive's snapshot (temporary tables may be written in a
read-only transaction, but not made; hence `prepare_keys` before it starts).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Watermark, Window
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.postgres.shipped_table import column_list
from ar_sync_pipeline.postgres.table_facts import ForeignKey, TableFacts

_MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Selection:
    """The rows that a partial was asked for.

    Attributes:
        changed_at: rows stamped in this half-open interval, whoever wrote them when.
        since: rows that this earlier snapshot could not see; None: the interval alone counts.
        look_back: how much older than their transaction's start rows may be stamped, in tables
            that are too large to be read for the watermark.
    """

    changed_at: Window
    since: Watermark | None
    look_back: timedelta


def prepare_keys(
    connection: Connection, tables: Mapping[str, TableFacts]
) -> dict[str, sql.Identifier]:
    """Make an empty temporary table of keys for each table; before the snapshot is taken."""
    relations = {
        name: sql.Identifier("pg_temp", f"ar_sync_keys_{number}")
        for number, name in enumerate(sorted(tables))
    }
    for name, relation in relations.items():
        key = column_list(tables[name].key)
        connection.execute(
            sql.SQL("CREATE TEMP TABLE {} AS SELECT {} FROM {} WITH NO DATA").format(
                relation, key, tables[name].relation
            )
        )
        connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(relation, key))
    return relations


def select_rows(
    connection: Connection,
    catalog: Catalog,
    tables: Mapping[str, TableFacts],
    keys: Mapping[str, sql.Identifier],
    selection: Selection,
) -> None:
    """Fill the key tables: changed rows, their children, then everything that they refer to.

    Raises:
        SchemaError: the catalog names a ``changed_at`` column that the table lacks.
    """
    collector = _KeyCollector(connection, tables, keys)
    references = [
        key
        for facts in tables.values()
        for key in facts.foreign_keys
        if key.referenced_table in tables
    ]
    for facts in tables.values():
        condition = _changed(catalog, facts, selection)
        if condition is not None:
            collector.choose(facts, condition)
    for key in references:
        if key.table in catalog.rules(key.referenced_table).children:
            collector.add_children(key)
    pending = {key.table for key in references}
    while pending:
        pending = {
            key.referenced_table
            for key in references
            if key.table in pending and collector.add_parents(key)
        }


@dataclass(frozen=True)
class _KeyCollector:
    connection: Connection
    tables: Mapping[str, TableFacts]
    keys: Mapping[str, sql.Identifier]

    def choose(self, facts: TableFacts, condition: sql.Composable) -> None:
        """Add the rows of a table that meet a condition on ``t``."""
        self.connection.execute(
            sql.SQL("INSERT INTO {} SELECT {} FROM {} AS t WHERE {}").format(
                self.keys[facts.name],
                column_list(facts.key, "t"),
                facts.rows,
                condition,
            )
        )

    def add_children(self, key: ForeignKey) -> int:
        """Add the rows that refer to chosen rows; returns how many were new."""
        return self._follow(key, known=key.referenced_table, wanted=key.table)

    def add_parents(self, key: ForeignKey) -> int:
        """Add the rows that chosen rows refer to; returns how many were new."""
        return self._follow(key, known=key.table, wanted=key.referenced_table)

    def _follow(self, key: ForeignKey, *, known: str, wanted: str) -> int:
        child, parent = ("known", "wanted") if known == key.table else ("wanted", "known")
        statement = sql.SQL(
            "INSERT INTO {target} SELECT DISTINCT {columns} FROM {held} AS held"
            " JOIN {known} AS known ON {held_is_known} JOIN {wanted} AS wanted ON {refers}"
            " ON CONFLICT DO NOTHING"
        ).format(
            target=self.keys[wanted],
            columns=column_list(self.tables[wanted].key, "wanted"),
            held=self.keys[known],
            known=self.tables[known].rows,
            wanted=self.tables[wanted].rows,
            held_is_known=self.tables[known].same_row("held", "known"),
            refers=key.refers(child, parent),
        )
        return self.connection.execute(statement).rowcount


def blind_tables(
    catalog: Catalog, tables: Mapping[str, TableFacts], since: Watermark | None
) -> tuple[str, ...]:
    """Tables of which a partial may miss changes that only the next complete brings.

    They are too large to be read for the watermark, and either have no time stamp, or the role
    may not see when the oldest writing transaction began.
    """
    unknown_start = since is not None and since.oldest_write_at is None
    return tuple(
        name
        for name, facts in tables.items()
        if not reads_watermark(catalog, facts)
        and (catalog.rules(name).changed_at is None or unknown_start)
    )


def _changed(catalog: Catalog, facts: TableFacts, selection: Selection) -> sql.Composable | None:
    rules = catalog.rules(facts.name)
    conditions: list[sql.Composable] = []
    if rules.changed_at is not None:
        if facts.column(rules.changed_at) is None:
            raise SchemaError(
                f"table {facts.name} has no column {rules.changed_at}",
                remedy="mend `changed_at` in the catalog",
            )
        conditions.append(
            sql.SQL("({column} >= {start} AND {column} < {end})").format(
                column=sql.Identifier("t", rules.changed_at),
                start=sql.Literal(selection.changed_at.start),
                end=sql.Literal(selection.changed_at.end),
            )
        )
    if selection.since is not None and reads_watermark(catalog, facts):
        conditions.append(unseen_by(selection.since))
    elif selection.since is not None and rules.changed_at is not None:
        start = selection.since.oldest_write_at or selection.since.snapshot_at
        conditions.append(
            sql.SQL("{} >= {}").format(
                sql.Identifier("t", rules.changed_at), sql.Literal(start - selection.look_back)
            )
        )
    return sql.SQL(" OR ").join(conditions) if conditions else None


def reads_watermark(catalog: Catalog, facts: TableFacts) -> bool:
    """Whether partials find every row of a table that a snapshot could not see."""
    chosen = catalog.rules(facts.name).watermark
    return facts.size_bytes <= catalog.watermark_limit_mb * _MEGABYTE if chosen is None else chosen


def unseen_by(since: Watermark) -> sql.Composed:
    """The condition for rows ``t`` that the earlier snapshot could not see, or not yet.

    They were written by transactions from that snapshot's ``xmin`` on, compared modulo 2^32. The
    low end is used rather than membership in the snapshot: rows written in savepoints carry ids of
    subtransactions, which a snapshot does not list. Frozen rows keep their old ``xmin``, whose
    distance is large, and so do the permanent ids below 3.
    """
    lowest = int(since.snapshot.split(":")[0])
    return sql.SQL(
        "((pg_snapshot_xmax(pg_current_snapshot())::text::bigint - t.xmin::text::bigint)"
        " & 4294967295) <= pg_snapshot_xmax(pg_current_snapshot())::text::bigint - {}"
    ).format(sql.Literal(lowest))
