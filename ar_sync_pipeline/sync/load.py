"""The second step of a load: rows and pictures of admitted archives, all or nothing.

The archives that the plan names are streamed once: chunks that differ go into staging tables,
pictures into the media folder. Then one transaction merges archive after archive, compares the
result with their digests and writes the ledger. Until it commits, readers see the state before;
the pictures that new rows name are there already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

from psycopg import sql

from ar_sync_pipeline.archive.chunk_member import decompress_chunk
from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import ArchiveReader, open_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.media.install import Outcome, install_media
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.digest import probe_digest
from ar_sync_pipeline.postgres.ledger import (
    ensure_ledger,
    load_lock,
    read_ledger,
    record,
)
from ar_sync_pipeline.postgres.merge import TablePlan, compute_merge
from ar_sync_pipeline.postgres.row_writing import ensure_source_values
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.sequences import advance_sequences
from ar_sync_pipeline.postgres.snapshot import Clock
from ar_sync_pipeline.postgres.staging import (
    StagedTable,
    create_staging,
    finish_staging,
    settled_chunks,
    stage_chunk,
)
from ar_sync_pipeline.postgres.table_order import parents_first
from ar_sync_pipeline.postgres.target_table import TargetTable, target_tables
from ar_sync_pipeline.postgres.verification import verify_digests, verify_row_count, verify_rows
from ar_sync_pipeline.settings import ReceiverSettings
from ar_sync_pipeline.spool.states import mark_applied
from ar_sync_pipeline.sync.load_plan import ArchivesAtHand, archives_at_hand, shown_until


@dataclass(frozen=True)
class LoadedArchive:
    """What the load of one archive did.

    Attributes:
        again: it had been applied before and was applied once more, behind an older one.
        tables: rows added, changed and deleted by table.
        chunks_staged: chunks that differed from what the receiver held, of ``chunks``.
    """

    manifest: Manifest
    again: bool
    tables: tuple[TablePlan, ...]
    chunks: int
    chunks_staged: int
    media_installed: int
    media_unchanged: int


@dataclass(frozen=True)
class LoadReport:
    """What a load did.

    Attributes:
        data_until: the end of the unbroken chain of archives; None without a complete.
    """

    loaded: tuple[LoadedArchive, ...]
    superseded: tuple[str, ...]
    healed: tuple[str, ...]
    data_until: datetime | None


@dataclass
class _StagedArchive:
    manifest: Manifest
    tables: list[StagedTable] = field(default_factory=list)
    media: list[Outcome] = field(default_factory=list)


def load_archives(
    settings: ReceiverSettings, catalog: Catalog, names: Sequence[str], clock: Clock
) -> LoadReport:
    """Load the admitted archives of these names, and retained later partials behind them.

    Applying anything twice changes nothing; a load that is killed anywhere leaves the state
    before it, and the next one heals what was left between commit and renaming.

    Args:
        names: names of admitted archives, without the prefix of waiting ones.

    Raises:
        LoadInProgressError: another load is working.
        LoadRefusedError: the receiver's constraints refuse the rows.
        DigestMismatchError: the result is not the sender's state; nothing was changed.
        CorruptArchiveError: an archive was damaged after it had been admitted.
    """
    url = settings.receiver_database_url.get_secret_value()
    spool = settings.remote_bkp_fldr
    with connect(url, application="load") as connection:
        ensure_ledger(connection)
        with load_lock(connection):
            at_hand = archives_at_hand(spool, names, read_ledger(connection))
            load = _Load(connection, catalog, settings.receiver_media_fldr, at_hand)
            loaded = load.run(clock)
            until = shown_until(read_ledger(connection))
            plan = at_hand.plan
            for candidate in (*plan.apply, *plan.superseded, *plan.healed):
                mark_applied(spool, at_hand.archives[candidate.archive_id])
    return LoadReport(
        loaded,
        superseded=at_hand.names(plan.superseded),
        healed=at_hand.names(plan.healed),
        data_until=until,
    )


class _Load:
    """One load's session."""

    def __init__(
        self, connection: Connection, catalog: Catalog, media: Path, at_hand: ArchivesAtHand
    ) -> None:
        self._connection = connection
        self._catalog = catalog
        self._media = media
        self._at_hand = at_hand
        self._tables = read_tables(connection, catalog.schema_name, lambda _: True)
        self._probe = probe_digest(connection)

    def run(self, clock: Clock) -> tuple[LoadedArchive, ...]:
        plan = self._at_hand.plan
        last_holder = self._last_holders()
        staged = [
            self._stage(number, candidate.archive_id, last_holder)
            for number, candidate in enumerate(plan.apply)
        ]
        loaded = []
        with self._connection.transaction():
            for number, (candidate, archive) in enumerate(zip(plan.apply, staged, strict=True)):
                tables = self._merge(number, archive, clock())
                loaded.append(_summary(archive, tables, again=not candidate.waiting))
            for candidate in plan.superseded:
                manifest = self._at_hand.manifests[candidate.archive_id]
                record(self._connection, manifest, clock(), superseded=True, plan=[])
        return tuple(loaded)

    def _stage(
        self, number: int, archive_id: UUID, last_holder: Mapping[str, UUID]
    ) -> _StagedArchive:
        with open_archive(self._at_hand.path(archive_id)) as reader:
            archive = _StagedArchive(reader.manifest)
            for table in self._in_order(reader.manifest):
                staged = self._prepare(number, len(archive.tables), reader.manifest, table)
                create_staging(self._connection, staged)
                archive.tables.append(staged)
            self._read_members(reader, archive, last_holder)
        for staged in archive.tables:
            finish_staging(self._connection, staged)
        return archive

    def _prepare(
        self, number: int, index: int, manifest: Manifest, target: TargetTable
    ) -> StagedTable:
        table = next(table for table in manifest.tables if table.name == target.name)
        complete = manifest.kind is ArchiveKind.COMPLETE
        ensure_source_values(self._connection, target)
        comparable = complete and manifest.digest_probe == self._probe
        settled = settled_chunks(self._connection, target, table) if comparable else frozenset()
        relation = sql.Identifier("pg_temp", f"ar_sync_stage_{number}_{index}")
        return StagedTable(target, table, relation, complete, settled)

    def _in_order(self, manifest: Manifest) -> list[TargetTable]:
        shipped = {table.name: table for table in manifest.tables}
        targets = target_tables(self._catalog, self._tables, manifest.tables)
        return [targets[name] for name in parents_first(self._tables) if name in shipped]

    def _read_members(
        self, reader: ArchiveReader, archive: _StagedArchive, last_holder: Mapping[str, UUID]
    ) -> None:
        """Stream the archive once, putting each member where it belongs."""
        chunks = {
            chunk.member: (staged, chunk) for staged in archive.tables for chunk in staged.differing
        }
        media = {
            entry.member: entry
            for entry in archive.manifest.media
            if last_holder[entry.path] == archive.manifest.archive_id
        }
        for member, stream in reader.members():
            if member in chunks:
                staged, chunk = chunks[member]
                stage_chunk(self._connection, staged, chunk, decompress_chunk(stream, chunk))
            elif member in media:
                archive.media.append(install_media(stream, media[member], self._media))

    def _last_holders(self) -> dict[str, UUID]:
        """The archive whose version of a picture counts: the last one in the plan's order."""
        return {
            entry.path: candidate.archive_id
            for candidate in self._at_hand.plan.apply
            for entry in self._at_hand.manifests[candidate.archive_id].media
        }

    def _merge(
        self, number: int, archive: _StagedArchive, applied_at: datetime
    ) -> tuple[TablePlan, ...]:
        manifest = archive.manifest
        targets = {staged.target.name: staged.target for staged in archive.tables}
        merge = compute_merge(
            self._connection,
            self._catalog.schema_name,
            self._tables,
            targets,
            archive.tables,
            f"ar_sync_merge_{number}",
        )
        plan = tuple(merge.plan())
        merge.carry_out()
        for staged in archive.tables:
            advance_sequences(self._connection, staged.manifest, staged.target.facts)
            if manifest.digest_probe == self._probe and staged.has_every_column:
                verify_digests(self._connection, staged)
            else:
                verify_rows(self._connection, staged)
            verify_row_count(self._connection, staged)
        record(
            self._connection,
            manifest,
            applied_at,
            superseded=False,
            plan=[table.as_dict() for table in plan],
        )
        return plan


def _summary(
    archive: _StagedArchive, tables: tuple[TablePlan, ...], *, again: bool
) -> LoadedArchive:
    unchanged = archive.media.count(Outcome.UNCHANGED)
    return LoadedArchive(
        archive.manifest,
        again,
        tables,
        chunks=sum(len(staged.manifest.chunks) for staged in archive.tables),
        chunks_staged=sum(len(staged.differing) for staged in archive.tables),
        media_installed=len(archive.media) - unchanged,
        media_unchanged=unchanged,
    )
