"""The first half of a load: archives are streamed once, rows and media files are staged.

Only chunks and files that differ from the receiver's are staged. Nothing that readers see is
changed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from psycopg import sql

from ar_sync_pipeline.archive.chunk_member import decompress_chunk
from ar_sync_pipeline.archive.manifest import Chunk, Manifest
from ar_sync_pipeline.archive.manifest_media import ListedMedia
from ar_sync_pipeline.archive.member_stream import MemberStream
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import ArchiveReader, open_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.media.held import HeldFiles, is_left_out
from ar_sync_pipeline.media.presence import PathSample
from ar_sync_pipeline.media.stage import MediaStage, Outcome
from ar_sync_pipeline.merge.chunk_changes import unconfirmed_changes
from ar_sync_pipeline.merge.filling import Filling
from ar_sync_pipeline.merge.held_content import equal_chunks, held_chunks
from ar_sync_pipeline.merge.staging import (
    StagedTable,
    chunks_with_rows,
    create_staging,
    finish_staging,
    stage_absent_keys,
    stage_changed_keys,
    stage_chunk,
)
from ar_sync_pipeline.merge.target_table import TargetTable, target_tables
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import probe_digest
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.postgres.table_order import parents_first
from ar_sync_pipeline.spool.lacking import MOST_FILES, Lacking
from ar_sync_pipeline.sync.errors import ContentLackingError
from ar_sync_pipeline.sync.load.load_plan import ArchivesAtHand
from ar_sync_pipeline.sync.load.newest_media import NewestMedia
from ar_sync_pipeline.sync.stopwatch import Stopwatch

_MOST_NAMED = 1_000
_LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class MediaFolder:
    """Media folder of the receiver.

    Attributes:
        allowed: Patterns of files that are installed although a web server may run them.
        stage: Stage of media files; None: media files are only checked.
    """

    folder: Path
    allowed: Sequence[str] = ()
    stage: MediaStage | None = None


@dataclass
class MediaOutcomes:
    """What becomes of the media files of an archive, whatever their number.

    Attributes:
        counts: Number of files by outcome.
        size_bytes: Size of the files that are installed or replaced, in bytes.
        left_out: The first files that this receiver does not install.
        lacking: The first files that the archive does not carry and the receiver does not have, and
            the oldest of all; a receipt says no more.
        sample: Sample of the files that the folder then has.
    """

    counts: Counter[Outcome] = field(default_factory=Counter)
    size_bytes: int = 0
    left_out: list[str] = field(default_factory=list)
    lacking: list[ListedMedia] = field(default_factory=list)
    sample: PathSample = field(default_factory=PathSample)
    _oldest: datetime = _LATEST

    def add(self, entry: ListedMedia, outcome: Outcome) -> None:
        """Count a file."""
        self.counts[outcome] += 1
        if outcome is Outcome.LEFT_OUT:
            if len(self.left_out) < _MOST_NAMED:
                self.left_out.append(entry.path)
            return
        self.sample.add(entry.path)
        if outcome is not Outcome.UNCHANGED:
            self.size_bytes += entry.size_bytes

    def add_lacking(self, entry: ListedMedia) -> None:
        """Record a file that the receiver lacks."""
        if len(self.lacking) <= MOST_FILES:
            self.lacking.append(entry)
        elif entry.modified_at < self._oldest:
            self.lacking[-1] = entry
        self._oldest = min(self._oldest, entry.modified_at)

    @property
    def installed(self) -> int:
        """Number of files that are installed or replaced."""
        unchanged = self.counts[Outcome.UNCHANGED] + self.counts[Outcome.LEFT_OUT]
        return self.counts.total() - unchanged


@dataclass
class StagedArchive:
    """An archive whose rows are in staging tables.

    Attributes:
        comparable: Whether this receiver computes the same digests as the sender.
        tables: Staged tables, parents before children.
        media: Outcomes of its media files.
    """

    manifest: Manifest
    comparable: bool
    tables: list[StagedTable] = field(default_factory=list)
    media: MediaOutcomes = field(default_factory=MediaOutcomes)

    @property
    def sender_references(self) -> frozenset[str] | None:
        """Foreign keys of the sender, as `reference_definitions`; None: unknown."""
        known = self.manifest.references
        return None if known is None else frozenset(known)


class ArchiveStager:
    """Stages the archives of one plan.

    Attributes:
        newest: Which archive brings which media file; complete before the first archive is staged.

    Args:
        tables: Every table of the receiver's schema.
        watch: Stopwatch for the seconds of rows and of media files.
        filling: Tables that take their rows directly from the archive; None: all are staged.
    """

    def __init__(
        self,
        connection: Connection,
        catalog: Catalog,
        tables: Mapping[str, TableFacts],
        media: MediaFolder,
        at_hand: ArchivesAtHand,
        watch: Stopwatch,
        filling: Filling | None = None,
    ) -> None:
        self._connection = connection
        self._catalog = catalog
        self._tables = tables
        self._media = media
        self._at_hand = at_hand
        self._watch = watch
        self._filling = filling
        self._probe = probe_digest(connection)
        apply = at_hand.plan.apply
        self.newest = NewestMedia(apply[0].archive_id if apply else None)

    def stage(self, number: int, archive_id: UUID) -> StagedArchive:
        """Stream one archive.

        Args:
            number: Number of the archive in the plan, for the names of its staging tables.

        Raises:
            CorruptArchiveError: The archive was damaged after its admission.
            SchemaError: A member does not contain rows of its table.
        """
        with open_archive(self._at_hand.path(archive_id)) as reader:
            reader.check_manifest(self._at_hand.manifest_sha256[archive_id])
            manifest = reader.manifest
            archive = StagedArchive(manifest, manifest.digest_probe == self._probe)
            for target in self._in_order(manifest):
                staged = self._prepare(number, archive, target)
                create_staging(self._connection, staged)
                archive.tables.append(staged)
            self._read_members(reader, archive)
        for place, staged in enumerate(archive.tables):
            finish_staging(self._connection, staged)
            unconfirmed = unconfirmed_changes(self._connection, staged)
            archive.tables[place] = replace(staged, unconfirmed=unconfirmed)
        self._watch.lap("stage")
        return archive

    def _in_order(self, manifest: Manifest) -> list[TargetTable]:
        targets = target_tables(self._catalog, self._tables, manifest.tables)
        return [targets[name] for name in parents_first(self._tables) if name in targets]

    def _prepare(self, number: int, archive: StagedArchive, target: TargetTable) -> StagedTable:
        table = next(table for table in archive.manifest.tables if table.name == target.name)
        complete = archive.manifest.kind is ArchiveKind.COMPLETE
        held = (
            held_chunks(self._connection, target, table) if complete and archive.comparable else {}
        )
        name = f"{number}_{len(archive.tables)}"
        direct = self._filling is not None and target.name in self._filling.direct
        return StagedTable(
            target,
            table,
            target.relation if direct else sql.Identifier("pg_temp", f"ar_sync_stage_{name}"),
            complete,
            equal_chunks(table, held),
            sql.Identifier("pg_temp", f"ar_sync_changed_{name}") if table.changed_keys else None,
            direct=direct,
            absent_keys=sql.Identifier("pg_temp", f"ar_sync_absent_{name}")
            if table.absent_keys
            else None,
            held=held,
        )

    def _read_members(self, reader: ArchiveReader, archive: StagedArchive) -> None:
        """Stage each member as rows, keys or a media file."""
        rows = {
            chunk.member: (table, chunk) for table in archive.tables for chunk in table.differing
        }
        keys = {
            chunk.member: (table, chunk, stage)
            for table in archive.tables
            for chunk, stage in (
                (table.manifest.changed_keys, stage_changed_keys),
                (table.manifest.absent_keys, stage_absent_keys),
            )
            if chunk is not None
        }
        self._watch.lap("stage")
        loads = self._media.stage is not None
        with closing(HeldFiles(self._media.folder, dates=loads)) as held:
            for member, stream in reader.members(
                lambda entry: self._check_held(entry, archive, held)
            ):
                self._watch.lap("media")
                if member in rows:
                    table, chunk = rows[member]
                    stage_chunk(self._connection, table, chunk, decompress_chunk(stream, chunk))
                elif member in keys:
                    table, chunk, stage = keys[member]
                    stage(self._connection, table, chunk, decompress_chunk(stream, chunk))
                elif stream.entry is not None and self._media.stage is not None:
                    self._stage_media(self._media.stage, stream, stream.entry, archive)
                    continue
                self._watch.lap("stage")
        self._watch.lap("media")

    def _stage_media(
        self, media: MediaStage, stream: MemberStream, entry: ListedMedia, archive: StagedArchive
    ) -> None:
        """Stage a media file, unless a later archive carries it."""
        archive_id = archive.manifest.archive_id
        if self.newest.is_of(archive_id, entry.path):
            archive.media.add(entry, media.stage(stream, entry, archive_id))

    def _check_held(self, entry: ListedMedia, archive: StagedArchive, held: HeldFiles) -> None:
        """Check a file that the archive does not carry, unless a later archive carries it."""
        if not self.newest.is_of(archive.manifest.archive_id, entry.path):
            return
        if is_left_out(entry, self._media.allowed):
            archive.media.add(entry, Outcome.LEFT_OUT)
        elif held.has(entry, archive.manifest.snapshot_at):
            archive.media.add(entry, Outcome.UNCHANGED)
        else:
            archive.media.add_lacking(entry)


def check_lacking(
    connection: Connection, archive: StagedArchive, later: Sequence[StagedArchive]
) -> None:
    """Check that the receiver has what an archive does not carry.

    A chunk that later applied archives have changed cannot be compared: it is left as it is, except
    for the changes that the archive carries.

    Args:
        later: Archives that were applied before, without a gap, and are applied again after this
            one. After a gap the receiver may lack changes that these do not carry.

    Raises:
        ContentLackingError: The receiver lacks something.
    """
    lacking = dict[str, Sequence[Chunk]]()
    for number, table in enumerate(archive.tables):
        changed = [
            chunks_with_rows(connection, table, other)
            for one in later
            for other in one.tables
            if other.target.name == table.target.name
        ]
        left = table.leave_unverified(frozenset().union(*changed))
        archive.tables[number] = left
        lacking[table.target.name] = left.lacking
    files = archive.media.lacking
    if files or any(lacking.values()):
        raise ContentLackingError(archive.manifest.name.applied, Lacking.of(lacking, files))
