"""Merge of all archives of a load, in order, inside one transaction: `apply_all`.

An older archive may delete a row that a later one restores, and break a deferred constraint that a
later one satisfies. So deleted rows are preserved until the last merge, and deferred constraints
are checked after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg

from ar_sync_pipeline.merge.apply import ArchiveRows, MergeResult, apply
from ar_sync_pipeline.merge.leaf_references import check_leaf_references
from ar_sync_pipeline.merge.preserved_rows import PreservedRows
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.table_plan import TablePlan
from ar_sync_pipeline.merge.truncated_times import give_back_microseconds
from ar_sync_pipeline.postgres.connect import Connection, is_of_the_server

Blame = Callable[[int], AbstractContextManager[None]]
"""Returns a block whose errors are attributed to the archive with this place in the order."""


@dataclass(frozen=True)
class MergedArchives:
    """Results of the merges of one load.

    Attributes:
        results: Result of each archive.
        deleted: Number of rows that are deleted in the end, by table.
    """

    results: tuple[MergeResult, ...]
    deleted: dict[str, int]

    @property
    def plans(self) -> tuple[TablePlan, ...]:
        """Plans of all archives."""
        return tuple(plan for result in self.results for plan in result.plans)


def apply_all(
    connection: Connection,
    references: References,
    archives: Sequence[ArchiveRows],
    effects: SideEffects,
    *,
    blame: Blame,
    lap: Callable[[str], object],
) -> MergedArchives:
    """Merge archives in their order and verify each result, in the caller's transaction.

    Args:
        references: Every table of the receiver, and the replicated ones.
        effects: Whether this transaction suppresses side effects.
        lap: Called at the end of each phase, ``merge`` and ``verify``.

    Raises:
        LoadRefusedError: The receiver's constraints refuse the rows of an archive.
        DigestMismatchError: The result differs from the sender's rows.
    """
    merges = _Merges(connection, references, archives, effects, blame, lap)
    results, breaking = merges.apply_each()
    plans = [plan for result in results for plan in result.plans]
    deleted = {plan.table: plan.deleted for plan in plans}
    if merges.preserved is not None:
        deleted = merges.restore(merges.preserved)
    if archives:
        with blame(breaking):
            merges.check_deferred(plans)
    return MergedArchives(tuple(results), deleted)


class _Merges:
    """The merges of one load.

    Attributes:
        preserved: Rows that an older archive deletes; None: there is only one archive.
    """

    def __init__(
        self,
        connection: Connection,
        references: References,
        archives: Sequence[ArchiveRows],
        effects: SideEffects,
        blame: Blame,
        lap: Callable[[str], object],
    ) -> None:
        self._connection = connection
        self._references = references
        self._archives = archives
        self._effects = effects
        self._blame = blame
        self._lap = lap
        self.preserved = self._preserved_rows() if len(archives) > 1 else None

    def _preserved_rows(self) -> PreservedRows:
        references = self._references
        if any(archive.complete for archive in self._archives):
            # As in the merge of the complete, a table that it lacks is receiver-only.
            references = References(references.tables, {})
        targets = (table.target for archive in self._archives for table in archive.tables)
        of_sender = self._archives[-1].sender_references
        return PreservedRows(self._connection, references.as_archived(targets, of_sender))

    def apply_each(self) -> tuple[list[MergeResult], int]:
        """Merge the archives; return also the first one that breaks a deferred constraint.

        If none of the others does, it is the last one: what that one breaks is found when all are
        merged.
        """
        results = list[MergeResult]()
        last = len(self._archives) - 1
        breaking = last
        for number, archive in enumerate(self._archives):
            with self._blame(number):
                results.append(self._apply(archive, self._staged_tables(number + 1)))
                if number < breaking == last and not self._constraints_hold():
                    breaking = number
        return results, breaking

    def _apply(self, archive: ArchiveRows, later: dict[str, list[StagedTable]]) -> MergeResult:
        if archive.truncated_times:
            for staged in archive.tables:
                give_back_microseconds(self._connection, staged)
        return apply(
            self._connection,
            self._references,
            archive,
            self._effects,
            preserved=self.preserved,
            later=later,
            lap=self._lap,
        )

    def restore(self, preserved: PreservedRows) -> dict[str, int]:
        """Restore preserved rows; return how many rows are deleted in the end, by table."""
        with self._blame(len(self._archives) - 1):
            preserved.restore(self._staged_tables(0), self._effects)
        for number in range(len(self._archives)):
            with self._blame(number):
                preserved.refuse_lost_references(number)
        return preserved.lost()

    def check_deferred(self, plans: Sequence[TablePlan]) -> None:
        """Check now what would fail at the commit, where the archive is unknown."""
        self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        if self._effects.suppressed:
            written = {plan.table for plan in plans if plan.writes}
            tables = self._references.tables
            check_leaf_references(self._connection, [tables[name] for name in written])

    def _constraints_hold(self) -> bool:
        """Return whether deferred constraints hold now; later archives may still satisfy them."""
        try:
            with self._connection.transaction(force_rollback=True):
                self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.Error as error:
            if is_of_the_server(error, self._connection):
                raise
            return False
        return True

    def _staged_tables(self, first: int) -> dict[str, list[StagedTable]]:
        """Return the staged tables of the archives from one on, by their name."""
        tables: dict[str, list[StagedTable]] = {}
        for archive in self._archives[first:]:
            for staged in archive.tables:
                tables.setdefault(staged.target.name, []).append(staged)
        return tables
