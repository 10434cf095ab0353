"""The second half of a load: one transaction that merges all archives, or nothing.

It compares the result with the archives' digests and writes the ledger. Until it commits, readers
see the state before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import psycopg

from ar_sync_pipeline.archive.converted import has_truncated_times
from ar_sync_pipeline.archive.manifest import Chunk, TableManifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import ArSyncError, TerminalError
from ar_sync_pipeline.media.install import rename_into_place
from ar_sync_pipeline.merge.apply import ArchiveRows, MergeResult
from ar_sync_pipeline.merge.apply_all import apply_all
from ar_sync_pipeline.merge.errors import UnprovenDeletionError
from ar_sync_pipeline.merge.filling import Filling, fill_directly, tables_to_fill
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.sequences import advance_sequences
from ar_sync_pipeline.merge.side_effects import (
    SideEffects,
    suppress_side_effects,
    without_event_triggers,
)
from ar_sync_pipeline.merge.source_tables import SourceTables
from ar_sync_pipeline.merge.target_table import TargetTable, replicated_tables, target_tables
from ar_sync_pipeline.merge.violated_tables import violated_tables
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import probe_digest
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.ledger_tables import check_load_lock
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.session_settings import built_in_search_path, default_search_path
from ar_sync_pipeline.postgres.table_definitions import TableDefinition
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.sync.blame import fault_of_archive
from ar_sync_pipeline.sync.errors import ArchiveRefusedError, ContentLackingError
from ar_sync_pipeline.sync.load.counted_deletions import CountedDeletions, archive_to_approve
from ar_sync_pipeline.sync.load.load_outcome import LoadedArchive, LoadOutcome
from ar_sync_pipeline.sync.load.load_plan import ArchivesAtHand
from ar_sync_pipeline.sync.load.load_record import LoadRecord
from ar_sync_pipeline.sync.load.net_rows import RowsBefore, planned_rows
from ar_sync_pipeline.sync.load.stage_archives import (
    ArchiveStager,
    MediaFolder,
    StagedArchive,
    check_lacking,
)
from ar_sync_pipeline.sync.load.unverified_chunks import chunks_to_carry, unverified_chunks
from ar_sync_pipeline.sync.load.unverified_tables import (
    AppliedColumns,
    definitions_of,
    record_definitions,
)
from ar_sync_pipeline.sync.stopwatch import Stopwatch


class LoadSession:
    """A connection and the archives that it loads.

    Attributes:
        filling: How `run` fills empty tables directly from an archive; None: it does not.

    Args:
        obstacle: Why keys, indexes and foreign keys of empty tables may not be created after their
            rows, for which readers of these tables wait; None: they may.
        direct: Whether rows of a complete may be copied directly into empty tables. If anything is
            refused then, the load is retried with staged rows.
    """

    def __init__(
        self,
        connection: Connection,
        catalog: Catalog,
        media: MediaFolder,
        at_hand: ArchivesAtHand,
        *,
        obstacle: str | None = None,
        direct: bool = False,
    ) -> None:
        self._connection = connection
        self._catalog = catalog
        self._media = media
        self._at_hand = at_hand
        self._obstacle = obstacle
        self._direct = direct
        self.filling: Filling | None = None
        self._tables = read_tables(connection, catalog.schema_name, lambda _: True)
        self._references = References(self._tables, replicated_tables(catalog, self._tables))
        self._source_tables = SourceTables(connection, self._references.targets)
        self._unverified: dict[UUID, dict[str, list[Chunk]]] = {}
        self._staged_from: dict[str, TableDefinition] = {}
        self._watch = Stopwatch()

    def run(
        self,
        clock: Clock,
        *,
        guard_percent: int,
        allowed: Mapping[str, str],
        remembers_media: bool = False,
    ) -> LoadOutcome:
        """Execute the plan.

        Args:
            guard_percent: Share of a table that may be deleted without an operator's approval.
            allowed: Sha256 of the approved manifest of each approved archive, by name.
            remembers_media: Whether to record which files the archives list, so that they can be
                removed when the sender no longer has them.

        Raises:
            ArchiveRefusedError: One archive cannot be applied; the others may be, without it.
            DigestMismatchError: The result differs from the sender's state; nothing was changed.
        """
        with default_search_path(self._connection):
            with self._connection.transaction():
                self._source_tables.prepare()
            to_fill = self._tables_to_fill()
            within = bool(to_fill) or self._source_tables.to_convert
            with without_event_triggers(self._connection):
                staged = [] if within else self._stage()
            with self._connection.transaction():
                effects = suppress_side_effects(self._connection)
                if within:
                    self._source_tables.convert()
                    self.filling = self._fill(to_fill, effects) if to_fill else None
                    staged = self._stage()
                outcome = self._merge_all(staged, effects)
                self._check_deletions(outcome, guard_percent, allowed)
                to_carry = {one: chunks_to_carry(one, c) for one, c in self._unverified.items()}
                with built_in_search_path(self._connection):
                    self._advance_sequences(staged)
                    record = LoadRecord(self._connection, self._at_hand, self._media, self._blaming)
                    unrecorded = record.record_all(
                        outcome, clock, to_carry, remembers_media=remembers_media
                    )
                self._source_tables.forget_altered()
                self._record_definitions(staged, outcome, clock())
                if self._media.stage is not None:
                    # The files get their names before the rows that name them are committed. Only
                    # the commit can still fail.
                    self._watch.lap("commit")
                    rename_into_place(self._media.stage, self._blaming, self._check_lock)
                    self._watch.lap("media")
            self._watch.lap("commit")
            return replace(outcome, unrecorded_media=unrecorded)

    def preview(self) -> LoadOutcome:
        """Execute the plan and roll it back: what `run` would do, to the row.

        Raises:
            ArchiveRefusedError: One archive cannot be applied.
            DigestMismatchError: The result would differ from the sender's state.
        """
        with (
            default_search_path(self._connection),
            self._connection.transaction(force_rollback=True),
        ):
            self._source_tables.prepare()
            self._source_tables.convert()
            effects = suppress_side_effects(self._connection)
            return self._merge_all(self._stage(), effects)

    def _tables_to_fill(self) -> list[tuple[TargetTable, TableManifest]]:
        """Return the empty tables if the load is a single complete; else none.

        Later archives need staged rows.
        """
        at_hand = self._at_hand
        manifests = [at_hand.manifests[candidate.archive_id] for candidate in at_hand.plan.apply]
        if not self._direct or [m.kind for m in manifests] != [ArchiveKind.COMPLETE]:
            return []
        (manifest,) = manifests
        with self._blaming(manifest.archive_id):
            if manifest.digest_probe == probe_digest(self._connection):
                targets = target_tables(self._catalog, self._tables, manifest.tables)
                return tables_to_fill(self._connection, targets, manifest.tables)
        return []

    def _fill(
        self, to_fill: Sequence[tuple[TargetTable, TableManifest]], effects: SideEffects
    ) -> Filling:
        if self._obstacle is not None:
            return Filling(self._connection, obstacle=self._obstacle)
        return fill_directly(self._connection, to_fill, effects)

    def _stage(self) -> list[StagedArchive]:
        at_hand = self._at_hand
        self._staged_from = definitions_of(self._connection, self._references.targets)
        stager = ArchiveStager(
            self._connection,
            self._catalog,
            self._tables,
            self._media,
            at_hand,
            self._watch,
            self.filling,
        )
        staged = []
        with closing(stager.newest):
            for candidate in reversed(at_hand.plan.apply[1:]):
                with self._blaming(candidate.archive_id):
                    media = at_hand.media(candidate.archive_id)
                    stager.newest.add(candidate.archive_id, media)
            for number, candidate in enumerate(at_hand.plan.apply):
                with self._blaming(candidate.archive_id):
                    staged.append(stager.stage(number, candidate.archive_id))
        for number, archive in enumerate(staged):
            with self._blaming(archive.manifest.archive_id):
                later = [
                    s for s in staged[number + 1 :] if s.manifest.archive_id in at_hand.unbroken
                ]
                check_lacking(self._connection, archive, later)
                if unverified := unverified_chunks(archive):
                    self._unverified[archive.manifest.archive_id] = unverified
        return staged

    def _merge_all(self, staged: Sequence[StagedArchive], effects: SideEffects) -> LoadOutcome:
        before: RowsBefore | None = None
        if len(staged) > 1:
            with self._blaming(staged[-1].manifest.archive_id):
                before = RowsBefore(self._connection, staged)
        targets = self._references.targets
        counted = CountedDeletions(self._connection, self._catalog, targets, staged)
        merged = apply_all(
            self._connection,
            self._references,
            [self._rows(number, archive) for number, archive in enumerate(staged)],
            effects,
            blame=lambda number: self._blaming(staged[number].manifest.archive_id),
            lap=self._watch.lap,
        )
        deletions = counted.find(merged)
        net = planned_rows(merged.plans) if before is None else before.net_rows(merged)
        self._watch.lap("merge")
        return LoadOutcome(
            tuple(map(self._loaded, staged, merged.results)),
            deletions,
            net,
            self._tables,
            self._watch.seconds,
            self.filling.obstacle if self.filling else None,
        )

    def _rows(self, number: int, archive: StagedArchive) -> ArchiveRows:
        manifest = archive.manifest
        return ArchiveRows(
            archive.tables,
            number,
            complete=manifest.kind is ArchiveKind.COMPLETE,
            after_gap=manifest.archive_id in self._at_hand.plan.after_gap,
            comparable=archive.comparable,
            sender_references=archive.sender_references,
            rebuilds=self._obstacle is None,
            filling=self.filling,
            truncated_times=has_truncated_times(manifest),
            uncovered=None if manifest.uncovered is None else frozenset(manifest.uncovered),
        )

    def _loaded(self, archive: StagedArchive, result: MergeResult) -> LoadedArchive:
        archive_id = archive.manifest.archive_id
        return LoadedArchive.of(
            archive,
            result,
            again=archive_id in self._at_hand.known,
            size_bytes=self._at_hand.archives[archive_id].size_bytes,
        )

    def _advance_sequences(self, staged: Sequence[StagedArchive]) -> None:
        for archive in staged:
            with self._blaming(archive.manifest.archive_id):
                for table in archive.tables:
                    advance_sequences(self._connection, table.manifest, table.target)

    def _record_definitions(
        self, staged: Sequence[StagedArchive], outcome: LoadOutcome, now: datetime
    ) -> None:
        applied = AppliedColumns()
        for archive, loaded in zip(staged, outcome.loaded, strict=True):
            applied.add(archive, loaded)
        record_definitions(
            self._connection, self._references.targets, self._staged_from, applied, now
        )

    def _check_deletions(
        self, outcome: LoadOutcome, guard_percent: int, allowed: Mapping[str, str]
    ) -> None:
        sha256 = self._at_hand.manifest_sha256
        if found := archive_to_approve(outcome, guard_percent, allowed, sha256):
            raise self._refused(*found)

    @contextmanager
    def _blaming(self, archive_id: UUID) -> Iterator[None]:
        """Attribute an error to an archive, so that the others can be loaded without it."""
        try:
            yield
        except Exception as error:
            fault = fault_of_archive(error, self._connection)
            if fault is None:
                raise
            failed = archive_id
            if not isinstance(fault, TerminalError):
                archive_id = self._at_hand.new_before(archive_id)
            if isinstance(fault, UnprovenDeletionError) and archive_id != failed:
                fault = fault.of_older_archive(self._at_hand.archives[failed].name.applied)
            between = fault.between if isinstance(fault, LoadRefusedError) else frozenset[str]()
            if isinstance(error, psycopg.Error):
                between = violated_tables(error, self._references)
            unverified = self._unverified.get(archive_id, {})
            if not between.isdisjoint(unverified):
                # Rows that are left as they are contradict older ones of the archive.
                name = self._at_hand.archives[archive_id].name.applied
                fault = ContentLackingError(name, Lacking.of(unverified, []), fault)
            raise self._refused(archive_id, fault) from error

    def _check_lock(self) -> None:
        check_load_lock(self._connection)

    def _refused(self, archive_id: UUID, error: ArSyncError) -> ArchiveRefusedError:
        return ArchiveRefusedError(self._at_hand.archives[archive_id], error)
