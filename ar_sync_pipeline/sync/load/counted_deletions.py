"""Rows that a load deletes in the end, counted for the delete guard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import dropwhile
from uuid import UUID

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.merge.apply_all import MergedArchives
from ar_sync_pipeline.merge.differences import is_empty
from ar_sync_pipeline.merge.target_table import TargetTable, count_rows
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.sync.errors import DeleteGuardError
from ar_sync_pipeline.sync.load.delete_guard import Deletion, guard_error, suspicious
from ar_sync_pipeline.sync.load.load_outcome import LoadedArchive, LoadOutcome
from ar_sync_pipeline.sync.load.stage_archives import StagedArchive


class CountedDeletions:
    """Counts deleted rows by table, with the number of rows before the load.

    Args:
        targets: Replicated tables of the receiver, by name.
        staged: Archives of the load. If any of them identifies the rows of a table by their place,
            a changed row counts there as a deleted one and an added one.
    """

    def __init__(
        self,
        connection: Connection,
        catalog: Catalog,
        targets: Mapping[str, TargetTable],
        staged: Sequence[StagedArchive],
    ) -> None:
        self._connection = connection
        self._catalog = catalog
        self._targets = targets
        used = [table.target for archive in staged for table in archive.tables]
        self._by_place = {target.name for target in used if not target.key}
        self._by_place |= {name for name, target in targets.items() if not target.key}
        self._carried_whole = {
            table.manifest.name
            for archive in staged
            for table in archive.tables
            if archive.manifest.kind is ArchiveKind.COMPLETE or table.manifest.whole
        }

    def find(self, merged: MergedArchives) -> tuple[Deletion, ...]:
        """Return the deletions, after the last merge."""
        before: dict[str, int] = {}
        for result in reversed(merged.results):
            before |= result.rows_before
        return tuple(
            self._deletion(table, before[table], rows)
            for table, rows in sorted(merged.deleted.items())
            if rows
        )

    def _deletion(self, table: str, before: int, rows: int) -> Deletion:
        if not self._catalog.replicates(table):
            # Its last row may well depend on the one row that the sender has deleted.
            return Deletion(table, before, rows, emptied=False, receiver_only=True)
        target = self._targets[table]
        if table in self._by_place:
            rows = max(before - count_rows(self._connection, target.facts), 0)
        # Other deletions of a partial follow from the rows that it brings.
        emptied = table in self._carried_whole and is_empty(self._connection, target)
        return Deletion(table, before, rows, emptied, by_place=table in self._by_place)


def archive_to_approve(
    outcome: LoadOutcome,
    guard_percent: int,
    allowed: Mapping[str, str],
    manifest_sha256: Mapping[UUID, str],
) -> tuple[UUID, DeleteGuardError] | None:
    """Return the first archive whose deletions need an approval that it lacks, with the error.

    Where an approved archive of the load deletes rows, too, only its own share counts.

    Args:
        guard_percent: Share of a table that may be deleted without an operator's approval.
        allowed: Sha256 of the approved manifest of each approved archive, by name.
        manifest_sha256: Sha256 of the manifest of each archive.
    """
    found, loaded = suspicious(outcome.deletions, guard_percent), outcome.loaded
    approved = [
        allowed.get(one.manifest.name.applied) == manifest_sha256[one.manifest.archive_id]
        for one in loaded
    ]
    shared = {
        plan.table
        for one, is_approved in zip(loaded, approved, strict=True)
        for plan in one.tables
        if is_approved and plan.deleted
    }
    for number, one in enumerate(loaded):
        if one.again or approved[number]:
            continue
        deleting = {plan.table for plan in one.tables if plan.deleted}
        total = [deletion for deletion in found if deletion.table in deleting - shared]
        own = [_share(d, loaded, number) for d in found if d.table in deleting & shared]
        if kept := (*total, *suspicious(own, guard_percent)):
            return one.manifest.archive_id, guard_error(one.manifest.name.applied, kept)
    return None


def _share(total: Deletion, loaded: Sequence[LoadedArchive], number: int) -> Deletion:
    """Return what one archive of a load deletes of a table, as if it were loaded alone."""
    table = total.table
    plans = [plan for one in loaded[: number + 1] for plan in one.tables if plan.table == table]
    # The rows were counted before the first merge that deletes any.
    *earlier, own = dropwhile(lambda plan: not plan.deleted, plans)
    before = total.rows_before + sum(plan.added - plan.deleted for plan in earlier)
    deleted = max(own.deleted - own.added, 0) if total.by_place else own.deleted
    emptied = not total.receiver_only and before + own.added == own.deleted
    return replace(total, rows_before=before, rows_deleted=deleted, emptied=emptied)
