"""Replicated tables whose rows DDL has changed: at the receiver outside a load, or at the sender.

Such a table is unverified until a complete, or a partial that carries all its rows, is applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ar_sync_pipeline.archive.converted import OLD_SYSTEM
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_definitions import (
    RecordedTable,
    TableDefinition,
    read_definitions,
    read_recorded,
    record_tables,
)
from ar_sync_pipeline.sync.load.load_outcome import LoadedArchive
from ar_sync_pipeline.sync.load.stage_archives import StagedArchive
from ar_sync_pipeline.visible_text import names_in_words


@dataclass
class AppliedColumns:
    """What the archives of a load carry.

    Attributes:
        replicated: Columns of each table in the last archive with the table.
        verified: Columns of each table of which an archive has compared every row.
        redefined: Tables that DDL has changed at the sender, of which no archive since then has
            compared every row.
        left_out: Columns of each table in the last archive with it that the receiver lacks.
        all_tables: Whether a complete is among the archives; a table that it lacks is not
            replicated any more.
    """

    replicated: dict[str, frozenset[str]] = field(default_factory=dict)
    verified: dict[str, frozenset[str]] = field(default_factory=dict)
    redefined: set[str] = field(default_factory=set)
    left_out: dict[str, tuple[str, ...]] = field(default_factory=dict)
    all_tables: bool = False

    def add(self, archive: StagedArchive, loaded: LoadedArchive) -> None:
        """Add an archive that is applied after the others."""
        left = {plan.table for plan in loaded.tables if plan.unverified} | loaded.keeps_absent
        complete = archive.manifest.kind is ArchiveKind.COMPLETE
        self.all_tables |= complete and archive.manifest.sender != OLD_SYSTEM
        self.redefined.update(archive.manifest.redefined)
        for name in archive.manifest.redefined:
            self.verified.pop(name, None)
        self.left_out.update(dict.fromkeys(archive.manifest.gone, ()))
        for table in archive.manifest.tables:
            self.left_out[table.name] = tuple(column.name for column in table.columns)
        for staged in archive.tables:
            self.left_out[staged.target.name] = _lacking(staged)
            name, columns = staged.target.name, frozenset(staged.target.shared)
            self.replicated[name] = columns
            if (complete or staged.manifest.whole) and name not in left:
                self.verified[name] = self.verified.get(name, frozenset()) | columns
                self.redefined.discard(name)

    def is_verified(self, table: str) -> bool:
        """Return whether every row of a table is equal to the sender's."""
        if table in self.redefined:
            return False
        if table not in self.replicated:
            return self.all_tables
        return self.replicated[table] <= self.verified.get(table, frozenset())

    def left_out_of(self, table: str, before: RecordedTable | None) -> tuple[str, ...]:
        """Return the columns that the sender sends of a table and the receiver lacks."""
        known = before.definition.left_out if before and not self.all_tables else ()
        return self.left_out.get(table, known)


def _lacking(staged: StagedTable) -> tuple[str, ...]:
    target = staged.target
    return tuple(
        column.name
        for column in staged.manifest.columns
        if column.name not in target.rules.not_replicated
        if target.facts.column(column.name) is None
    )


def definitions_of(
    connection: Connection, targets: Mapping[str, TargetTable]
) -> dict[str, TableDefinition]:
    """Return the definitions of the receiver's replicated tables now."""
    return read_definitions(connection, {name: t.facts for name, t in targets.items()})


def record_definitions(
    connection: Connection,
    targets: Mapping[str, TargetTable],
    staged_from: Mapping[str, TableDefinition],
    applied: AppliedColumns,
    now: datetime,
) -> None:
    """Compare the tables with the ledger, and record them; last in the transaction of a load.

    A table without a record is verified: it is new, or the ledger is of an earlier version. What
    archives had and the receiver lacked is recorded, so that it is unverified once it is there.

    Args:
        targets: Replicated tables of the receiver.
        staged_from: Their definitions before the first archive was staged. Chunks are compared
            then, and left as they are if they are unchanged, so that later DDL is not verified.
        applied: What the archives of this load carry.
    """
    recorded = read_recorded(connection)
    found = definitions_of(connection, targets)
    changed: dict[str, RecordedTable] = {}
    for name, definition in found.items():
        before = recorded.get(name)
        left_out = applied.left_out_of(name, before)
        default = {*before.definition.columns, *left_out} if before else targets[name].shared
        replicated = applied.replicated.get(name, frozenset(default))
        here = definition.replicating(replicated)
        lacking = tuple(column for column in left_out if column not in here.columns)
        after = _after(before, here.model_copy(update={"left_out": lacking}), now)
        compared = staged_from.get(name)
        is_emptied = before and compared and compared.is_emptied_since(before.definition)
        if is_emptied or name in applied.redefined:
            # Emptied tables may have rows again, which the load has written.
            after = RecordedTable(after.definition, after.unverified_since or now)
        if applied.is_verified(name):
            kept = compared and after.definition.keeps_rows_of(compared.replicating(replicated))
            after = RecordedTable(after.definition, None if kept else now)
        elif before and name not in applied.replicated:
            after = _with_dropped_columns(after, before.definition)
        if after != before:
            changed[name] = after
    for name in (recorded.keys() | applied.left_out.keys()) - found.keys():
        before = recorded.get(name)
        left_out = applied.left_out_of(name, before)
        if left_out or (before and (before.unverified_since or before.definition.left_out)):
            changed[name] = _left(before, left_out)
    record_tables(connection, changed)


def _after(before: RecordedTable | None, found: TableDefinition, now: datetime) -> RecordedTable:
    if before is None:
        return RecordedTable(found, None)
    since = before.unverified_since
    return RecordedTable(found, since if found.keeps_rows_of(before.definition) else since or now)


def _left(before: RecordedTable | None, left_out: tuple[str, ...]) -> RecordedTable:
    """Return a table that is not here or left the catalog, so that no load can verify it.

    If it comes back, none of its columns counts as verified before.
    """
    known = before.definition if before else TableDefinition(parts={}, columns={})
    definition = known.replicating(frozenset()).model_copy(update={"left_out": left_out})
    return RecordedTable(definition, None)


def _with_dropped_columns(after: RecordedTable, before: TableDefinition) -> RecordedTable:
    """Keep the definition of a dropped column, with which an added one is compared."""
    definition = after.definition.model_copy(
        update={"columns": {**before.columns, **after.definition.columns}}
    )
    return RecordedTable(definition, after.unverified_since)


def unverified_in_words(tables: Sequence[str], more: int = 0) -> str:
    """Return what an operator should know of such tables, as a clause; empty without any.

    Args:
        more: Number of further tables, whose names are not known.
    """
    if not tables:
        return ""
    verb = "was" if len(tables) == 1 else "were"
    others = f", and {more:,} more" if more else ""
    return (
        f"{names_in_words(tables)}{others} {verb} altered, truncated or created again at the"
        " receiver, or altered or sent by other rules at the sender, so that rows may differ from"
        " the sender's: the sender's next complete verifies them; its sensor"
        " `complete_for_receiver` requests one, or launch `complete_dump` there"
    )
