"""Merge of a staged archive into the receiver's tables, inside one transaction: `apply`.

Order: find the differences and the rows to delete, plan, preserve what a later archive of the same
load may restore, free unique values, write everything in one statement, verify. Unchanged rows are
never written, receiver-only columns keep their values, and the result is compared with the
archive's digests before commit.

One statement writes all tables, because the server checks foreign keys at the end of a statement
(PostgreSQL manual, 7.8.4 "Data-Modifying Statements in WITH"). So rows may refer to each other in
any order, even if constraints are not deferrable, and children can move to a new parent before the
old one is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from ar_sync_pipeline.merge.differences import (
    REPLACE,
    TableDifference,
    absent_rows,
    count_drift,
    find_differences,
    is_staged,
)
from ar_sync_pipeline.merge.errors import refusal
from ar_sync_pipeline.merge.filling import Filling, fill_from_staging
from ar_sync_pipeline.merge.freeing import UniqueValueFreer
from ar_sync_pipeline.merge.plan import TablePlan
from ar_sync_pipeline.merge.preserved_rows import PreservedRows
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.reference_checks import ReferenceChecks
from ar_sync_pipeline.merge.row_writing import (
    remember_source_values,
    take_out_replaced_rows,
    write_statements,
)
from ar_sync_pipeline.merge.rows_to_delete import RowsToDelete
from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.unique_values import follows, holders, repeated_values
from ar_sync_pipeline.merge.verification import verify_table
from ar_sync_pipeline.postgres.connect import Connection, is_of_the_server
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.table_facts import UniqueKey


@dataclass(frozen=True)
class ArchiveRows:
    """A staged archive and what the merge must know of it.

    Attributes:
        tables: Tables of the archive with their staged rows.
        number: Number of the archive within the load, for names of temporary tables.
        complete: Whether the archive contains all rows of its tables.
        after_gap: Whether archives before this one are missing. A row that contradicts it may then
            still exist at the sender, so the receiver's own data of that row must not be deleted.
        comparable: Whether this receiver computes the same digests as the sender.
        sender_references: Foreign keys of the sender; None: unknown.
        rebuilds: Whether indexes and foreign keys of empty tables may be created after their rows.
        filling: What was already dropped from empty tables; None: nothing so far.
    """

    tables: Sequence[StagedTable]
    number: int
    complete: bool
    after_gap: bool
    comparable: bool
    sender_references: frozenset[str] | None = None
    rebuilds: bool = True
    filling: Filling | None = None


@dataclass(frozen=True)
class MergeResult:
    """Result of a merge.

    Attributes:
        plans: Plan of each table.
        rows_before: Number of rows before the merge, by table that lost rows.
        fired: Triggers and rules of the receiver that fired for replicated rows, as
            ``table.trigger``.
    """

    plans: tuple[TablePlan, ...]
    rows_before: Mapping[str, int]
    fired: tuple[str, ...] = ()


def apply(
    connection: Connection,
    references: References,
    archive: ArchiveRows,
    effects: SideEffects,
    *,
    preserved: PreservedRows | None = None,
    later: Mapping[str, Sequence[sql.Identifier]] | None = None,
    lap: Callable[[str], object] = lambda _: None,
) -> MergeResult:
    """Merge one archive and verify the result, in the caller's transaction.

    Args:
        references: Every table of the receiver, and the replicated ones.
        effects: Whether this transaction suppresses side effects.
        preserved: Copies of deleted rows, if later archives follow in the same load.
        later: Staging tables of the archives that are applied after this one, by table.
        lap: Called at the end of each phase, ``merge`` and ``verify``.

    Raises:
        LoadRefusedError: The receiver's constraints refuse the rows, or the rows depend on what a
            missing archive may contain.
        DigestMismatchError: The result differs from the sender's rows.
    """
    merge = _Merge(connection, references, archive, effects)
    try:
        return merge.run(preserved, later or {}, lap)
    except psycopg.Error as error:
        if is_of_the_server(error, connection):
            raise
        merge.refuse_key_of_the_receiver(error)
        raise refusal(error, fired=merge.fired()) from error


@dataclass
class _Merge:
    connection: Connection
    references: References
    archive: ArchiveRows
    effects: SideEffects
    differences: dict[str, TableDifference] = field(default_factory=dict)

    def __post_init__(self) -> None:
        staged = [table.target for table in self.archive.tables]
        if self.archive.complete:
            # A complete contains all replicated tables. Others that match a pattern are
            # receiver-only.
            self.references = References(self.references.tables, {})
        self.references = self.references.with_targets(staged)
        self.to_delete = RowsToDelete(
            self.connection,
            self.references,
            {staged.target.name: staged for staged in self.archive.tables},
            self.archive.sender_references,
            self.archive.complete,
            f"{self._prefix}_delete",
        )
        self.checks = ReferenceChecks(
            self.connection, self.references, self.differences, self.to_delete, self._prefix
        )

    @property
    def _prefix(self) -> str:
        return f"ar_sync_merge_{self.archive.number}"

    def run(
        self,
        preserved: PreservedRows | None,
        later: Mapping[str, Sequence[sql.Identifier]],
        lap: Callable[[str], object],
    ) -> MergeResult:
        self._find_differences()
        self._find_rows_to_delete()
        self.checks.remember()
        if not self.effects.suppressed:
            self.checks.remember_followers()
        plans = self._plans(later)
        before = {table: self._count(table) for table in self.to_delete.tables()}
        if preserved is not None:
            preserved.remember(self.to_delete, final=self.archive.complete)
        self._write()
        lap("merge")
        self._verify()
        lap("verify")
        return MergeResult(tuple(plans), before, self.fired())

    def refuse_key_of_the_receiver(self, error: psycopg.Error) -> None:
        """Raise an error that names the violated constraint if only the receiver has it.

        Raises:
            LoadRefusedError: Only the receiver has the constraint.
        """
        name = error.diag.constraint_name
        for facts in self.references.tables.values():
            for key in facts.foreign_keys:
                if key.name == name and self.references.receiver_only_columns(key):
                    raise LoadRefusedError(
                        f"rows of {key.table} refer by {key.name}, which only the receiver has, to"
                        f" rows of {key.referenced_table} that the sender changed or deleted",
                        remedy=f"let {key.name} cascade, or change or delete these rows at the"
                        " receiver; the archive is tried again by itself",
                    ) from error
        for table, difference in self.differences.items():
            definitions = difference.staged.manifest.unique_keys
            for unique in difference.target.facts.unique_keys:
                if name == unique.name and definitions is not None:
                    self._refuse_unless_shared(table, unique, definitions)

    def _refuse_unless_shared(
        self, table: str, unique: UniqueKey, definitions: Sequence[str]
    ) -> None:
        if not follows(unique, definitions):
            raise LoadRefusedError(
                f"two rows of {table} have the same value of {unique.name}, {unique.definition},"
                " which is a unique key at the receiver and not at the sender",
                remedy=f"drop {unique.name} at the receiver; the archive is then loaded by itself",
            )

    def fired(self) -> tuple[str, ...]:
        """Return the triggers and rules that fire when the differing rows are written."""
        changed = (d.target for d in self.differences.values() if not d.empty)
        return tuple(self.effects.firing_triggers(changed))

    def _find_differences(self) -> None:
        for number, staged in enumerate(self.archive.tables):
            prefix = f"{self._prefix}_{number}"
            self.differences[staged.target.name] = find_differences(self.connection, staged, prefix)

    def _find_rows_to_delete(self) -> None:
        for table, difference in self.differences.items():
            staged = difference.staged
            if difference.fills:
                continue  # no row can be absent or conflict
            if staged.speaks_for_all_rows and not staged.wholly_unchanged:
                self.to_delete.add(table, absent_rows(staged))
            elif not difference.empty:
                for unique in difference.target.unique_keys():
                    self._add_displaced_rows(difference, unique)
        self.to_delete.add_dependents()

    def _add_displaced_rows(self, difference: TableDifference, unique: UniqueKey) -> None:
        """Add rows that are not in the archive and have a unique value of one of its rows.

        If the archive contains every change since the receiver's state, the sender has deleted such
        a row: a changed row would be in the archive.
        """
        query = sql.SQL("SELECT h.* FROM ({}) AS h WHERE NOT {}").format(
            holders(difference, unique), is_staged(difference.staged, "h")
        )
        table = difference.target.name
        proven = difference.staged.manifest.covers_since and not self.archive.after_gap
        displaced = self.to_delete.add(table, query)
        definitions = difference.staged.manifest.unique_keys
        if displaced and definitions is not None:
            self._refuse_unless_shared(table, unique, definitions)
        if displaced and not proven:
            raise LoadRefusedError(
                f"a row of {table} gets a value of {unique.name} that another row has here, and"
                " what became of that row is not in this archive",
                remedy="nothing; the next complete archive brings both",
            )

    def _plans(self, later: Mapping[str, Sequence[sql.Identifier]]) -> list[TablePlan]:
        followers = self.checks.followers()
        for table, count in self.to_delete.count_cleared().items():
            followers[table] = followers.get(table, 0) + count
        deleted = self.to_delete.counts
        plans = [
            TablePlan(
                table,
                shipped=True,
                added=difference.added,
                changed=difference.changed,
                deleted=deleted.get(table, 0),
                row_count=difference.staged.manifest.row_count,
                drift=count_drift(self.connection, difference, later.get(table, ())),
                unverified=len(difference.staged.unverified),
            )
            for table, difference in self.differences.items()
        ]
        others = {
            t for t in (*deleted, *followers) if deleted.get(t) or followers.get(t)
        } - self.differences.keys()
        return plans + [
            TablePlan(t, False, 0, followers.get(t, 0), deleted.get(t, 0), 0)
            for t in sorted(others)
        ]

    def _write(self) -> None:
        self.connection.execute("SET CONSTRAINTS ALL DEFERRED")
        differences = list(self.differences.values())
        filling = self.archive.filling or fill_from_staging(
            self.connection, differences if self.archive.rebuilds else []
        )
        with filling.restored_after():
            self.to_delete.clear_references(self.effects)
            freer = UniqueValueFreer(self.connection, self.to_delete, self.effects)
            replaced = set()
            for number, difference in enumerate(differences):
                freer.free(difference, f"{self._prefix}_free_{number}")
                if self._has_replacements(difference):
                    freer.refuse_replacing(difference)
                    take_out_replaced_rows(self.connection, difference)
                    replaced.add(difference.target.name)
            self._write_rows(replaced)
            for difference in differences:
                remember_source_values(self.connection, difference)
            self.to_delete.delete_source_values()
            if self.effects.suppressed:
                self.checks.follow(self.effects)
            else:
                self.checks.restore_followers()
            self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        self.checks.checked_by_server = filling.foreign_keys

    def _write_rows(self, replaced: set[str]) -> None:
        """Write all tables in one statement; those whose triggers fire in another one."""
        firing = {n for n, t in self.references.targets.items() if self.effects.fires(t)}
        silent = (self.references.tables.keys() - firing) if self.effects.suppressed else set()
        self._execute(self._statements(silent, replaced))
        loud = self._statements(self.references.tables.keys() - silent, replaced)
        if loud:
            with self.effects.allowed():
                self._execute(loud)

    def _statements(self, tables: set[str], replaced: set[str]) -> list[sql.Composed]:
        return self.to_delete.statements(tables) + [
            statement
            for name, difference in self.differences.items()
            if name in tables
            for statement in write_statements(difference, replaces=name in replaced)
        ]

    def _execute(self, statements: Sequence[sql.Composed]) -> None:
        if not statements:
            return
        parts = sql.SQL(", ").join(
            sql.SQL("{} AS ({})").format(sql.Identifier(f"part {number}"), statement)
            for number, statement in enumerate(statements)
        )
        self.connection.execute(sql.SQL("WITH {} SELECT").format(parts))

    def _has_replacements(self, difference: TableDifference) -> bool:
        if difference.fills or not difference.changed:
            return False
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE action = {})").format(
            difference.relation, sql.Literal(REPLACE)
        )
        row = self.connection.execute(query).fetchone()
        return bool(row and row[0])

    def _verify(self) -> None:
        if self.effects.suppressed:
            self.checks.verify()
            for difference in self.differences.values():
                self._verify_deferrable(difference)
        for difference in self.differences.values():
            verify_table(self.connection, difference.staged, comparable=self.archive.comparable)

    def _verify_deferrable(self, difference: TableDifference) -> None:
        """Check deferrable unique keys, which the server does not check in replica mode."""
        for unique in difference.target.facts.unique_keys:
            if not unique.deferrable or difference.empty:
                continue
            row = self.connection.execute(repeated_values(difference, unique)).fetchone()
            if row and row[0]:
                raise LoadRefusedError(
                    f"rows of {difference.target.name} would have a value of {unique.name} twice",
                    remedy=f"compare {unique.name} with the sender's schema and alter it at the"
                    " receiver; the archive is then loaded by itself",
                )

    def _count(self, table: str) -> int:
        query = sql.SQL("SELECT count(*) FROM {}").format(self.references.tables[table].rows)
        row = self.connection.execute(query).fetchone()
        return row[0] if row else 0
