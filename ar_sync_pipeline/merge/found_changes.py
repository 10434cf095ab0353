"""First step of a merge: what differs, and which rows are to be deleted. Nothing is written yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from ar_sync_pipeline.merge.archive_rows import ArchiveRows
from ar_sync_pipeline.merge.differences import (
    TableDifference,
    absent_rows,
    find_differences,
    is_staged,
)
from ar_sync_pipeline.merge.errors import (
    GRANT,
    UnprovenDeletionError,
    remedy_of_own_reference,
)
from ar_sync_pipeline.merge.lost_values import may_have_changed
from ar_sync_pipeline.merge.parent_resets import ParentResets, find_parents_to_reset
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.rows_to_delete import RowsToDelete
from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.merge.spared_rows import SparedRows
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.merge.unique_values import follows, holders
from ar_sync_pipeline.postgres.connect import Connection, names_function
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.sql_parts import any_null, exists
from ar_sync_pipeline.postgres.table_facts import ForeignKey, TableFacts, UniqueKey

_OF_REFERENCES = (psycopg.errors.ForeignKeyViolation, psycopg.errors.RestrictViolation)


@dataclass(frozen=True)
class FoundChanges:
    """What an archive changes; `find_changes` makes it.

    Attributes:
        references: Every table of the receiver, and those that the archive replicates.
        differences: Rows to add and to change, by table.
        to_delete: Rows to delete, with those that depend on them.
        spared: Rows that the archive lacks and that stay, in temporary tables by table name.
        resets: Unchanged rows that are marked for the transform, since their children or results
            change.
    """

    connection: Connection
    archive: ArchiveRows
    effects: SideEffects
    references: References
    differences: Mapping[str, TableDifference]
    to_delete: RowsToDelete
    spared: Mapping[str, sql.Identifier]
    resets: ParentResets

    @property
    def prefix(self) -> str:
        """Prefix of the names of temporary tables of this merge."""
        return _prefix(self.archive)

    def fired(self) -> tuple[str, ...]:
        """Return the triggers and rules of the tables whose rows are written or deleted."""
        changed = {table for table, found in self.differences.items() if not found.empty}
        changed |= self.to_delete.tables() | self.resets.tables()
        targets = (target for name, target in self.references.targets.items() if name in changed)
        return tuple(self.effects.firing_triggers(targets))

    def refuse_key_of_the_receiver(self, error: psycopg.Error) -> None:
        """Raise an error that names the violated constraint if the sender may violate it.

        Raises:
            LoadRefusedError: Only the receiver has the constraint, it is ``NOT VALID``, or it
                refers to a table outside the archive.
        """
        name, violated = error.diag.constraint_name, self._tables_of(error)
        for key in self._keys_of(error):
            self._refuse_broken_key(key, error)
        for table, difference in self.differences.items():
            definitions = difference.staged.manifest.unique_keys
            for unique in difference.target.facts.unique_keys:
                if (
                    name == unique.name
                    and definitions is not None
                    and difference.target.facts in violated
                ):
                    _refuse_unless_shared(table, unique, definitions)

    def may_be_of_a_partition(self, error: psycopg.Error) -> bool:
        """Return whether the violated foreign key may be one of or to a single partition."""
        diag = error.diag
        of_server = bool(diag.constraint_name) and not names_function(diag.context)
        return isinstance(error, _OF_REFERENCES) and of_server and not self._keys_of(error)

    def _refuse_broken_key(self, key: ForeignKey, error: psycopg.Error) -> None:
        own, targets = self.references.receiver_only_columns(key), self.references.targets
        is_outside = key.referenced_table not in targets
        changes = may_have_changed(key, self.differences, self.to_delete)
        if own and not (is_outside and key.table in targets):
            child = self.references.tables[key.table]
            raise LoadRefusedError(
                f"rows of {key.table} refer by {key.name}, which only the receiver has, to"
                f" rows of {key.referenced_table} that the sender changed or deleted",
                remedy=remedy_of_own_reference(key, child, changes=changes),
            ) from error
        if not own and not key.validated:
            raise LoadRefusedError(
                f"rows of {key.table} refer to rows of {key.referenced_table} that do not"
                f" exist; {key.name} is NOT VALID, so it is checked for the rows that a"
                " load writes or deletes",
                remedy=f"{GRANT}, or delete these rows at the sender, or drop {key.name} at"
                " the receiver; the archive is tried again by itself",
            ) from error
        if is_outside:
            raise self.references.missing_parents(key, changes=changes) from error

    def _keys_of(self, error: psycopg.Error) -> list[ForeignKey]:
        name = error.diag.constraint_name
        return [k for facts in self._tables_of(error) for k in facts.foreign_keys if k.name == name]

    def _tables_of(self, error: psycopg.Error) -> list[TableFacts]:
        """Return the tables that an error may be about; names of foreign keys may repeat."""
        tables = [*self.references.tables.values()]
        where = (error.diag.schema_name, error.diag.table_name)
        # A partition is not among the tables.
        return [facts for facts in tables if facts.place == where] or tables


def find_changes(
    connection: Connection,
    references: References,
    archive: ArchiveRows,
    effects: SideEffects,
    later: Mapping[str, Sequence[StagedTable]],
) -> FoundChanges:
    """Compare a staged archive with the receiver's rows.

    Args:
        references: Every table of the receiver, and the replicated ones.
        later: Staged tables of the archives that are applied after this one, by name.

    Rows that a partial lacks of a table that it carries whole are deleted at the sender. If what
    became of their children is not in the archive, they stay until the next complete.

    Raises:
        LoadRefusedError: The rows depend on what a missing archive may contain, or on a unique key
            that only the receiver has.
    """
    if any(staged.manifest.whole for staged in archive.tables):
        try:
            with connection.transaction():
                return _find_changes(connection, references, archive, effects, later)
        except UnprovenDeletionError:
            archive = archive.keeping_absent_rows()
    return _find_changes(connection, references, archive, effects, later)


def _find_changes(
    connection: Connection,
    references: References,
    archive: ArchiveRows,
    effects: SideEffects,
    later: Mapping[str, Sequence[StagedTable]],
) -> FoundChanges:
    if archive.complete:
        # A complete contains all replicated tables. Others that match a pattern are receiver-only.
        references = References(references.tables, {})
    targets = [table.target for table in archive.tables]
    references = references.as_archived(targets, archive.sender_references)
    for staged in archive.tables:
        _check_key_is_filled(connection, staged.target)
    differences = {
        staged.target.name: find_differences(connection, staged, f"{_prefix(archive)}_{number}")
        for number, staged in enumerate(archive.tables)
    }
    to_delete = RowsToDelete(connection, references, archive, f"{_prefix(archive)}_delete")
    for table, difference in differences.items():
        if difference.fills:
            continue  # no row can be absent or conflict
        staged = difference.staged
        if staged.speaks_for_all_rows and not staged.wholly_unchanged:
            to_delete.add(table, absent_rows(staged))
        elif not difference.empty:
            for unique in difference.target.unique_keys():
                _add_displaced_rows(to_delete, difference, unique)
    spared = SparedRows(to_delete, later)
    if archive.complete:
        spared.find(differences)
    to_delete.add_dependents()
    resets = find_parents_to_reset(connection, references, differences, to_delete, _prefix(archive))
    return FoundChanges(
        connection,
        archive,
        effects,
        references,
        differences,
        to_delete,
        spared.relations,
        resets,
    )


def _check_key_is_filled(connection: Connection, target: TargetTable) -> None:
    """Refuse rows of the receiver that have no key: they may be any of the sender's rows."""
    columns = target.facts.nullable(target.key)
    if not columns:
        return
    without_key = sql.SQL("{} AS t WHERE {}").format(target.rows, any_null("t", columns))
    if exists(connection, without_key):
        names = ", ".join(columns)
        raise LoadRefusedError(
            f"rows of {target.name} have NULL in {names} at the receiver, which is in the key by"
            " which the sender identifies its rows",
            remedy=f"fill {names} with the sender's values and set NOT NULL, or delete these rows"
            " at the receiver; the archive is then loaded by itself",
        )


def _prefix(archive: ArchiveRows) -> str:
    return f"ar_sync_merge_{archive.number}"


def _add_displaced_rows(
    to_delete: RowsToDelete, difference: TableDifference, unique: UniqueKey
) -> None:
    """Add rows that are not in the archive and have a unique value of one of its rows.

    If the archive contains every change since the receiver's state, the sender has deleted such a
    row: a changed row would be in the archive.
    """
    query = sql.SQL("SELECT h.* FROM ({}) AS h WHERE NOT {}").format(
        holders(difference, unique), is_staged(difference.staged, "h")
    )
    table = difference.target.name
    displaced = to_delete.add(table, query)
    definitions = difference.staged.manifest.unique_keys
    if displaced and definitions is not None:
        _refuse_unless_shared(table, unique, definitions)
    if displaced and not to_delete.archive.has_every_change(table):
        raise UnprovenDeletionError(
            f"a row of {table} gets a value of {unique.name} that another row has here",
            table,
            after_gap=to_delete.archive.after_gap,
        )


def _refuse_unless_shared(table: str, unique: UniqueKey, definitions: Sequence[str]) -> None:
    if not follows(unique, definitions):
        raise LoadRefusedError(
            f"two rows of {table} have the same value of {unique.name}, {unique.definition},"
            " which is a unique key at the receiver and not at the sender",
            remedy=f"drop {unique.name} at the receiver{_if_printed_otherwise(unique)}; the archive"
            " is then loaded by itself",
        )


def _if_printed_otherwise(unique: UniqueKey) -> str:
    """Return the remedy for an index that the sender has too, in an older version's words."""
    if unique.plain and not unique.predicate:
        return ""
    return ", or, if the sender has it too in other words, drop and create it on both servers alike"
