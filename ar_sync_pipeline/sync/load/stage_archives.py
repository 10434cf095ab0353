"""The first half of a load: archives are streamed once, rows and media files are staged.

Only chunks and files that differ from the receiver's are staged. Nothing that readers see is
changed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

from psycopg import sql

from ar_sync_pipeline.archive.chunk_member import decompress_chunk
from ar_sync_pipeline.archive.manifest import Chunk, Manifest, MediaEntry
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import ArchiveReader, MemberStream, open_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.media.held import has_file, is_left_out
from ar_sync_pipeline.media.stage import MediaStage, Outcome
from ar_sync_pipeline.merge.chunk_changes import unconfirmed_changes
from ar_sync_pipeline.merge.filling import Filling
from ar_sync_pipeline.merge.staging import (
    StagedTable,
    chunks_with_rows,
    content_of,
    create_staging,
    finish_staging,
    held_chunks,
    stage_absent_keys,
    stage_changed_keys,
    stage_chunk,
)
from ar_sync_pipeline.merge.target_table import TargetTable, target_tables
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import probe_digest
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.postgres.table_order import parents_first
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.sync.errors import ContentLackingError
from ar_sync_pipeline.sync.load.load_plan import ArchivesAtHand
from ar_sync_pipeline.sync.stopwatch import Stopwatch


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
class StagedArchive:
    """An archive whose rows are in staging tables.

    Attributes:
        comparable: Whether this receiver computes the same digests as the sender.
        tables: Staged tables, parents before children.
        media: Outcomes of its media files.
        media_bytes: Size of the media files that are installed or replaced, in bytes.
        media_left_out: Media files that this receiver does not install.
        media_lacking: Media files that the archive does not carry and the receiver does not have.
    """

    manifest: Manifest
    comparable: bool
    tables: list[StagedTable] = field(default_factory=list)
    media: list[Outcome] = field(default_factory=list)
    media_bytes: int = 0
    media_left_out: list[str] = field(default_factory=list)
    media_lacking: list[MediaEntry] = field(default_factory=list)


class ArchiveStager:
    """Stages the archives of one plan.

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
        self._last_holder = _last_holders(at_hand)

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
        self._find_lacking_media(archive)
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
        unchanged = frozenset(c.member for c in table.chunks if held.get(c.member) == content_of(c))
        name = f"{number}_{len(archive.tables)}"
        direct = self._filling is not None and target.name in self._filling.direct
        return StagedTable(
            target,
            table,
            target.relation if direct else sql.Identifier("pg_temp", f"ar_sync_stage_{name}"),
            complete,
            unchanged,
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
        media = {
            entry.member: entry
            for entry in archive.manifest.media
            if self._last_holder.get(entry.path) == archive.manifest.archive_id
        }
        for member, stream in reader.members():
            if member in rows:
                table, chunk = rows[member]
                stage_chunk(self._connection, table, chunk, decompress_chunk(stream, chunk))
            elif member in keys:
                table, chunk, stage = keys[member]
                stage(self._connection, table, chunk, decompress_chunk(stream, chunk))
            elif member in media and self._media.stage is not None:
                self._watch.lap("stage")
                _stage_media(self._media.stage, stream, media[member], archive)
                self._watch.lap("media")

    def _find_lacking_media(self, archive: StagedArchive) -> None:
        """Check the files that the archive does not carry, unless a later archive carries them."""
        self._watch.lap("stage")
        manifest = archive.manifest
        for entry in manifest.media:
            if entry.carried or self._last_holder.get(entry.path) != manifest.archive_id:
                continue
            if is_left_out(entry, self._media.allowed):
                archive.media.append(Outcome.LEFT_OUT)
                archive.media_left_out.append(entry.path)
            elif has_file(self._media.folder, entry, manifest.snapshot_at):
                archive.media.append(Outcome.UNCHANGED)
            else:
                archive.media_lacking.append(entry)
        self._watch.lap("media")


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
    if archive.media_lacking or any(lacking.values()):
        raise ContentLackingError(
            archive.manifest.name.applied, Lacking.of(lacking, archive.media_lacking)
        )


def unverified_chunks(archive: StagedArchive) -> dict[str, list[Chunk]]:
    """Return the chunks of an archive that are not compared, by table."""
    found = {
        table.target.name: [c for c in table.manifest.chunks if c.member in table.unverified]
        for table in archive.tables
    }
    return {table: chunks for table, chunks in found.items() if chunks}


def _stage_media(
    media: MediaStage, stream: MemberStream, entry: MediaEntry, archive: StagedArchive
) -> None:
    outcome = media.stage(stream, entry, archive.manifest.archive_id)
    archive.media.append(outcome)
    if outcome is Outcome.LEFT_OUT:
        archive.media_left_out.append(entry.path)
    elif outcome is not Outcome.UNCHANGED:
        archive.media_bytes += entry.size_bytes


def _last_holders(at_hand: ArchivesAtHand) -> dict[str, UUID]:
    """Return the archive whose version of each media file counts: the last one in the plan's order.

    A file does not count if a later archive has a folder of its name, or a file with the name of
    one of its folders.
    """
    holders: dict[str, UUID] = {}
    folders = set[str]()
    for candidate in reversed(at_hand.plan.apply):
        media = at_hand.manifests[candidate.archive_id].media
        counted = [
            entry.path
            for entry in media
            if entry.path not in holders
            and entry.path not in folders
            and not any(folder in holders for folder in _folders_of(entry.path))
        ]
        holders.update(dict.fromkeys(counted, candidate.archive_id))
        folders.update(folder for path in counted for folder in _folders_of(path))
    return holders


def _folders_of(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
