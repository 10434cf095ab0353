"""Assembly of one archive from the results of a dump's steps in the build folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from uuid import UUID, uuid5

import ar_sync_pipeline
from ar_sync_pipeline.archive.file_stamp import FileStamp
from ar_sync_pipeline.archive.manifest import (
    CHANGES_FORMAT,
    DIFFERENTIAL_FORMAT,
    WHOLE_FORMAT,
    Manifest,
    SenderIdentity,
    Watermark,
)
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.writer import ArchiveSource
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.bundle_media import MediaBundle
from ar_sync_pipeline.sync.dump.dump_tables import TableDump

_ARCHIVE_IDS = UUID("0d1f9d0e-6f3c-4c2e-9d1b-7a6c2f0f5b11")


def archive_id_of(watermark: Watermark) -> UUID:
    """Return the id of the archive with a watermark; it is derived from all other facts of it."""
    return uuid5(_ARCHIVE_IDS, watermark.model_dump_json(exclude={"archive_id"}))


def assemble(
    build: BuildFolder,
    media_folder: Path,
    sender_name: str,
    signing_key: bytes | None,
    pair: str = "",
) -> ArchiveSource:
    """Describe the archive in a build folder; nothing is copied.

    The archive's id is derived from its watermark, so a retried step publishes the same archive and
    not a second one.
    """
    dump, media = build.read(TableDump), build.read(MediaBundle)
    mark = dump.watermark
    archive_id = archive_id_of(mark)
    number = _format(dump, media)
    manifest = Manifest(
        format=number,
        archive_id=archive_id,
        base=None if number == WHOLE_FORMAT else dump.base,
        kind=ArchiveKind.PARTIAL if dump.window else ArchiveKind.COMPLETE,
        sender=SenderIdentity(
            system_identifier=mark.system_identifier,
            database=dump.database,
            name=sender_name,
        ),
        pair=pair,
        product_version=ar_sync_pipeline.__version__,
        window=dump.window,
        since=dump.since,
        watermark=mark.model_copy(update={"archive_id": archive_id}),
        new_history=dump.new_history,
        snapshot_at=mark.snapshot_at,
        digest_probe=dump.digest_probe,
        tables=dump.tables,
        media=media.entries,
        media_omitted=media.omitted_names,
        migrations=dump.migrations,
        schema_fingerprint=dump.schema_fingerprint,
        types=dump.types,
        references=dump.references,
    )
    if signing_key is not None:
        manifest = manifest.signed(signing_key)
    chunks = {
        chunk.member: build.members / chunk.member.rpartition("/")[2]
        for table in manifest.tables
        for chunk in table.copy_members
        if chunk.carried
    }
    # No other account may enter the run's own folder: its chunks are those that this run has
    # hashed.
    stamps = {name: FileStamp.of(path.stat()) for name, path in chunks.items() if path.exists()}
    stamps |= {e.member: media.stamps[e.path] for e in manifest.media if e.path in media.stamps}
    pictures = {entry.member: entry.path for entry in manifest.media if entry.carried}
    return ArchiveSource(manifest, _MemberFiles(chunks, pictures, media_folder), stamps=stamps)


def _format(dump: TableDump, media: MediaBundle) -> int:
    if any(table.changes for table in dump.tables):
        return CHANGES_FORMAT
    chunks = (chunk for table in dump.tables for chunk in table.chunks)
    is_whole = all(c.carried for c in chunks) and all(entry.carried for entry in media.entries)
    return WHOLE_FORMAT if is_whole else DIFFERENTIAL_FORMAT


@dataclass(frozen=True)
class _MemberFiles(Mapping[str, Path]):
    """Path of each member; it is created on access, because it is larger than its text."""

    chunks: Mapping[str, Path]
    pictures: Mapping[str, str]
    media_folder: Path

    def __getitem__(self, member: str) -> Path:
        if member in self.chunks:
            return self.chunks[member]
        return self.media_folder / self.pictures[member]

    def __iter__(self) -> Iterator[str]:
        return chain(self.chunks, self.pictures)

    def __len__(self) -> int:
        return len(self.chunks) + len(self.pictures)
