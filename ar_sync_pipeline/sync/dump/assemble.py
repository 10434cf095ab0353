"""Assembly of one archive from the results of a dump's steps in the build folder."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from uuid import UUID, uuid5

import ar_sync_pipeline
from ar_sync_pipeline.archive.file_stamp import FileStamp
from ar_sync_pipeline.archive.manifest import (
    CHANGES_FORMAT,
    COVERAGE_FORMAT,
    DIFFERENTIAL_FORMAT,
    MEDIA_LIST_FORMAT,
    OMISSIONS_FORMAT,
    WHOLE_FORMAT,
    Manifest,
    SenderIdentity,
    Watermark,
)
from ar_sync_pipeline.archive.manifest_media import MEDIA_LIST_MEMBER, MediaEntry, MediaList
from ar_sync_pipeline.archive.manifest_reader import ReadLimits
from ar_sync_pipeline.archive.media_list import write_media_list
from ar_sync_pipeline.archive.writer import ArchiveSource
from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.bundle_files import CarriedFiles, bundle_files
from ar_sync_pipeline.sync.dump.bundle_media import MediaBundle
from ar_sync_pipeline.sync.dump.format_limits import describing
from ar_sync_pipeline.sync.dump.table_dump import TableDump
from ar_sync_pipeline.sync.errors import ManifestTooLongError, MediaListTooLongError

# A longer list is a member of its own; archives with a shorter one are readable by any version.
MOST_INLINE_MEDIA = 1_000
_SHORTEST_ENTRY_BYTES = 140
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
    receiver_formats: Collection[int] | None = None,
) -> ArchiveSource:
    """Describe the archive in a build folder; nothing is copied.

    The archive's id is derived from its watermark, so a retried step publishes the same archive and
    not a second one.

    Args:
        receiver_formats: Numbers of the formats that the receiver reads; None: it never said so.

    Raises:
        MediaListTooLongError: There are more files than the receiver's version can read about.
        ManifestTooLongError: There are more chunks than a receiver can read about.
    """
    media = build.read(MediaBundle)
    listing = _list_media(build, media, receiver_formats)
    dump = _readable_by(build.read(TableDump), receiver_formats)
    manifest = _describe(dump, listing, media.omitted_names, sender_name, pair)
    if signing_key is not None:
        manifest = manifest.signed(signing_key)
    chunks = {
        chunk.member: build.members / chunk.member.rpartition("/")[2]
        for table in manifest.tables
        for chunk in table.copy_members
        if chunk.carried
    }
    if listing.member is not None:
        chunks[listing.member.member] = _list_path(build)
    # No other account may enter the run's own folder: its chunks are those that this run has
    # hashed.
    stamps = {name: FileStamp.of(path.stat()) for name, path in chunks.items() if path.exists()}
    carried = {entry.member: entry.path for entry in manifest.media if entry.carried}
    source = ArchiveSource(
        manifest,
        _MemberFiles(chunks, carried, media_folder),
        stamps={**stamps, **listing.stamps},
        media=None if listing.member is None else CarriedFiles(build, media_folder),
    )
    if source.manifest_bytes > ReadLimits().manifest_bytes:
        raise _too_long(source, media)
    return source


def _readable_by(dump: TableDump, receiver_formats: Collection[int] | None) -> TableDump:
    """Leave out what the receiver does not read and can do without."""
    if receiver_formats is None:
        return dump
    if COVERAGE_FORMAT not in receiver_formats:
        dump = dump.model_copy(update={"uncovered": None})
    if OMISSIONS_FORMAT not in receiver_formats:
        tables = tuple(table.model_copy(update={"generated": ()}) for table in dump.tables)
        dump = dump.model_copy(update={"tables": tables, "redefined": (), "gone": ()})
    return dump


def _too_long(source: ArchiveSource, media: MediaBundle) -> TerminalError:
    manifest = source.manifest
    largest = max(manifest.tables, key=lambda table: len(table.chunks), default=None)
    chunks = 0 if largest is None else len(largest.chunks)
    if largest is None or len(manifest.media) > chunks:
        return MediaListTooLongError(media.file_count)
    return ManifestTooLongError(source.manifest_bytes, largest.name, chunks)


def _describe(
    dump: TableDump, listing: _Listing, omitted: tuple[str, ...], sender_name: str, pair: str
) -> Manifest:
    mark, is_whole = dump.watermark, _is_whole(dump, listing) and not dump.has_changes
    archive_id = archive_id_of(mark)
    with describing("the archive"):
        return Manifest(
            format=_format(dump, listing),
            archive_id=archive_id,
            base=None if is_whole else dump.base,
            kind=dump.kind,
            sender=SenderIdentity(
                system_identifier=mark.system_identifier,
                database=dump.database,
                name=sender_name,
            ),
            pair=pair,
            product_version=ar_sync_pipeline.__version__,
            window=dump.window,
            since=dump.since,
            uncovered=dump.uncovered,
            redefined=dump.redefined,
            gone=dump.gone,
            watermark=mark.model_copy(update={"archive_id": archive_id}),
            new_history=dump.new_history,
            snapshot_at=mark.snapshot_at,
            digest_probe=dump.digest_probe,
            tables=dump.tables,
            media=listing.entries,
            media_list=listing.member,
            media_omitted=omitted,
            migrations=dump.migrations,
            schema_fingerprint=dump.schema_fingerprint,
            types=dump.types,
            references=dump.references,
        )


@dataclass(frozen=True)
class _Listing:
    """The media files of an archive: in its manifest, or in a member."""

    entries: tuple[MediaEntry, ...] = ()
    stamps: Mapping[str, FileStamp] = field(default_factory=dict)
    member: MediaList | None = None

    @property
    def carries_everything(self) -> bool:
        if self.member is not None:
            return self.member.carried_count == self.member.file_count
        return all(entry.carried for entry in self.entries)


def _list_media(
    build: BuildFolder, media: MediaBundle, receiver_formats: Collection[int] | None
) -> _Listing:
    is_readable = receiver_formats is None or MEDIA_LIST_FORMAT in receiver_formats
    with bundle_files(build) as files:
        if media.file_count > MOST_INLINE_MEDIA and is_readable:
            return _Listing(member=write_media_list(_list_path(build), files.lines()))
        if media.file_count * _SHORTEST_ENTRY_BYTES > ReadLimits().manifest_bytes:
            raise MediaListTooLongError(media.file_count)
        described = [(file.entry, file.stamp) for file in files.listed()]
    return _Listing(
        tuple(entry for entry, _ in described),
        {entry.member: stamp for entry, stamp in described if stamp is not None},
    )


def _list_path(build: BuildFolder) -> Path:
    return build.path / MEDIA_LIST_MEMBER


def _is_whole(dump: TableDump, listing: _Listing) -> bool:
    chunks = (chunk for table in dump.tables for chunk in table.chunks)
    return listing.carries_everything and all(chunk.carried for chunk in chunks)


def _format(dump: TableDump, listing: _Listing) -> int:
    """Return the lowest number of the format that describes the archive."""
    if dump.redefined or dump.gone or any(table.generated for table in dump.tables):
        return OMISSIONS_FORMAT
    if dump.has_changes:
        return CHANGES_FORMAT
    if dump.uncovered is not None:
        return COVERAGE_FORMAT
    if listing.member is not None:
        return MEDIA_LIST_FORMAT
    return WHOLE_FORMAT if _is_whole(dump, listing) else DIFFERENTIAL_FORMAT


@dataclass(frozen=True)
class _MemberFiles(Mapping[str, Path]):
    """Path of each member; it is created on access, because it is larger than its text."""

    chunks: Mapping[str, Path]
    media: Mapping[str, str]
    media_folder: Path

    def __getitem__(self, member: str) -> Path:
        if member in self.chunks:
            return self.chunks[member]
        return self.media_folder / self.media[member]

    def __iter__(self) -> Iterator[str]:
        return chain(self.chunks, self.media)

    def __len__(self) -> int:
        return len(self.chunks) + len(self.media)
