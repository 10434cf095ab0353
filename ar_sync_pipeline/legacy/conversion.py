"""Converts an archive of the old system to format 1.

The archive is read once from start to end. Rows pass through temporary tables with the types of the
receiver, media files through the build folder, so memory does not grow with the archive. Nothing in
it is executed, and nothing leaves the build folder before its last byte was read.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import ar_sync_pipeline
from ar_sync_pipeline.archive.converted import OLD_SYSTEM
from ar_sync_pipeline.archive.errors import CorruptArchiveError, printable
from ar_sync_pipeline.archive.file_stamp import FileStamp
from ar_sync_pipeline.archive.manifest import Manifest, TableManifest, Watermark, Window
from ar_sync_pipeline.archive.manifest_media import MediaEntry
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.archive.regular_file import open_regular_file
from ar_sync_pipeline.archive.writer import ArchiveSource
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.files import free_space
from ar_sync_pipeline.legacy.archive_format import (
    IMAGES,
    TRUNCATED_TIMES,
    OldFile,
    OldPart,
    most_file_bytes,
    old_archive_id,
    old_files,
)
from ar_sync_pipeline.legacy.archive_names import OldArchiveName
from ar_sync_pipeline.legacy.tables import OldTables
from ar_sync_pipeline.legacy.tar_stream import OldArchiveTruncatedError, OldFormatError
from ar_sync_pipeline.media.safe_paths import media_name_problem
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import probe_digest
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.postgres.schema_facts import schema_fingerprint
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.errors import ArchiveParkedError

_READ_BYTES = 256 * 1024
_NO_SNAPSHOT = "0:0:"
_MOST_NAMED = 5


class TruncatedArchiveError(CorruptArchiveError):
    """The file ends too early: it is truncated, or still being uploaded."""

    code = "cut-archive"


@dataclass(frozen=True)
class Converted:
    """Result of a conversion.

    Attributes:
        path: Path of the new archive in the build folder.
        warnings: Messages about omitted content, for the operator.
    """

    path: Path
    name: ArchiveName
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Conversion:
    """Converts old archives for this receiver.

    Attributes:
        tables: Tables of the receiver.
        look_back: Duration between the start of a partial's window and the time of its name (TIME).
        ignores_drift: Whether columns that the receiver lacks are omitted instead of parking the
            archive.
    """

    connection: Connection
    catalog: Catalog
    tables: Mapping[str, TableFacts]
    look_back: timedelta
    ignores_drift: bool

    def run(self, path: Path, name: OldArchiveName, build: BuildFolder) -> Converted:
        """Convert one archive.

        Raises:
            CorruptArchiveError: The archive is damaged, hostile, or not an old archive.
            UnreadableArchiveError: The file cannot be opened.
            OSError: The disk has too little free space (``ENOSPC``), or fails.
            ArchiveParkedError: The archive does not fit the receiver's schema yet.
            SchemaMismatchError: A value does not fit the receiver's column.
        """
        reading = _Reading(OldTables(self.connection, self.catalog, self.tables, build.members))
        try:
            with open_regular_file(path) as file:
                reading.most_bytes = most_file_bytes(os.fstat(file.fileno()).st_size)
                source = _HashedFile(file)
                for found in old_files(source, name.kind):
                    reading.take(found, build)
        except OldFormatError as error:
            truncated = isinstance(error, OldArchiveTruncatedError)
            problem = TruncatedArchiveError if truncated else CorruptArchiveError
            raise problem(error.fault, archive=path.name, member=error.member) from error
        except SchemaError as error:
            raise CorruptArchiveError(error.problem, archive=path.name) from error
        mismatches = reading.tables.mismatches
        if mismatches and not self.ignores_drift:
            raise ArchiveParkedError(
                f"{path.name} waits for the receiver's schema ({'; '.join(mismatches)})",
                remedy="migrate the receiver; the next load then takes the archive",
            )
        manifest = self._manifest(
            name, source.sha256(), reading.tables.manifests(), reading.pictures
        )
        target = build.path / manifest.name.waiting
        members = reading.members(build, manifest)
        # Only this account may enter the build folder, so its files are those that were hashed.
        stamps = {member: FileStamp.of(file.stat()) for member, file in members.items()}
        ArchiveSource(manifest, members, stamps=stamps).write_to(target)
        return Converted(target, manifest.name, (*mismatches, *reading.warnings(path.name)))

    def without_content(self, name: OldArchiveName, sha256: str) -> Manifest:
        """Return the manifest of an archive that need not be read, for the ledger."""
        return self._manifest(name, sha256, (), ())

    def _manifest(
        self,
        name: OldArchiveName,
        sha256: str,
        converted: Sequence[TableManifest],
        pictures: Sequence[MediaEntry],
    ) -> Manifest:
        archive_id = old_archive_id(name.kind, name.stamp, sha256)
        complete = name.kind is ArchiveKind.COMPLETE
        window = Window(start=name.snapshot_at - self.look_back, end=name.snapshot_at)
        return Manifest(
            archive_id=archive_id,
            kind=name.kind,
            sender=OLD_SYSTEM,
            product_version=ar_sync_pipeline.__version__,
            window=None if complete else window,
            watermark=Watermark(
                archive_id=archive_id,
                snapshot_at=name.snapshot_at,
                snapshot=_NO_SNAPSHOT,
                system_identifier=OLD_SYSTEM.system_identifier,
                timeline=0,
            ),
            snapshot_at=name.snapshot_at,
            digest_probe=probe_digest(self.connection) if complete else TRUNCATED_TIMES,
            tables=tuple(converted),
            media=tuple(pictures),
            schema_fingerprint=schema_fingerprint(
                {table.name: self.tables[table.name] for table in converted}
            ),
        )


@dataclass
class _Reading:
    """Content that was read from one archive, of which no file has more than the most bytes."""

    tables: OldTables
    most_bytes: int = 0
    pictures: list[MediaEntry] = field(default_factory=list)
    pictures_bytes: int = 0
    refused: list[str] = field(default_factory=list)
    refused_count: int = 0

    def take(self, found: OldFile, build: BuildFolder) -> None:
        if found.part is OldPart.SQL:
            self.tables.take_dump(found.stream)
        elif found.part is OldPart.JSON:
            self.tables.take_objects(found.name, found.stream)
        elif media_name_problem(found.name) is not None:
            self.refused_count += 1
            if self.refused_count <= _MOST_NAMED:
                self.refused.append(printable(found.name))
        else:
            self._check_space(found, build)
            self.pictures.append(_extract(found, _media_file(build, len(self.pictures))))
            self.pictures_bytes += found.size_bytes

    def _check_space(self, found: OldFile, build: BuildFolder) -> None:
        """Refuse a file if it and the new archive, with all files so far, exceed the free space.

        A header may declare any size: no space would ever be enough for one that cannot be true.
        """
        if found.size_bytes > self.most_bytes:
            name = printable(found.name)
            raise OldFormatError(f"{name} in it is declared larger than it can be", IMAGES)
        needed_bytes = found.size_bytes + self.pictures_bytes + found.size_bytes
        if free_space(build.members).is_too_small_for(needed_bytes):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(build.members))

    def members(self, build: BuildFolder, manifest: Manifest) -> dict[str, Path]:
        members = {
            chunk.member: build.members / chunk.member.rpartition("/")[2]
            for table in manifest.tables
            for chunk in table.chunks
        }
        for number, entry in enumerate(manifest.media):
            members[entry.member] = _media_file(build, number)
        return members

    def warnings(self, archive: str) -> Iterator[str]:
        if self.refused:
            more = ", …" if self.refused_count > _MOST_NAMED else ""
            yield (
                f"{archive} has {self.refused_count} media files whose names are not allowed here,"
                f" and they are left out: {', '.join(self.refused)}{more}"
            )


class _HashedFile:
    """A file that hashes the bytes that are read from it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        return data

    def sha256(self) -> str:
        """Return the SHA-256 of the file after it was read to its end."""
        return self._digest.hexdigest()


def _media_file(build: BuildFolder, number: int) -> Path:
    """Return the path of a media file, named by number: its final name is untrusted data."""
    return build.members / f"picture.{number:07d}"


def _extract(found: OldFile, target: Path) -> MediaEntry:
    digest, size_bytes = hashlib.sha256(), 0
    with target.open("xb") as file:
        while block := found.stream.read(_READ_BYTES):
            file.write(block)
            digest.update(block)
            size_bytes += len(block)
    return MediaEntry(
        path=found.name,
        size_bytes=size_bytes,
        sha256=digest.hexdigest(),
        modified_at=found.modified_at,
    )
