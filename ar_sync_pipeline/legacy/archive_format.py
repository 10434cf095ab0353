"""Archive format of the old system, read as a stream of inner files.

An archive is a ``tar.gz`` that contains others: ``database.tar.gz`` (of a complete: the plain
``pg_dump`` ``database.sql``; of a partial: seven files of Django's JSON serializer),
``images.tar.gz``, in a complete ``migrations.tar.gz``, and ``metadata.txt``. Only the checksums of
gzip protect it, so it is valid only after its last byte was read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from ar_sync_pipeline.archive.chunk_member import ReadableStream
from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.legacy.tar_stream import (
    FREE_BYTES,
    OldFormatError,
    TarEntry,
    gunzip,
    tar_entries,
)

TRUNCATED_TIMES = "times are cut to milliseconds"
"""Instead of a digest probe: digests of a converted partial do not describe the sender's rows."""

SQL_FILE = "database.sql"
JSON_MODELS = {
    f"dump_{model}.json": model.lower()
    for model in (
        "Busassignment",
        "Busv2",
        "EventForBusStop",
        "EventForBusv2",
        "Report",
        "StadisticDataFromRegistrationBus",
        "StadisticDataFromRegistrationBusStop",
    )
}
"""Files of a partial, with the Django model of each."""

_DATABASE = "database.tar.gz"
IMAGES = "images.tar.gz"
"""Member with the media files."""
_INNER_FILES = {
    ArchiveKind.COMPLETE: frozenset({SQL_FILE}),
    ArchiveKind.PARTIAL: frozenset(JSON_MODELS),
}
_ALLOWED = {
    ArchiveKind.COMPLETE: frozenset({_DATABASE, IMAGES, "migrations.tar.gz", "metadata.txt"}),
    ArchiveKind.PARTIAL: frozenset({_DATABASE, IMAGES, "metadata.txt"}),
}
# Inner files are already compressed. SQL and JSON shrink to a tenth, seldom to a fiftieth.
_OUTER_RATIO, _INNER_RATIO = 20, 250
# The names had to fit on the command line of the old system (D16).
_MOST_MEDIA_FILES = 100_000
_ARCHIVE_IDS = UUID("6c6b1f60-2b8e-4b0e-8f5e-0d8a1f0c7a42")


class OldPart(StrEnum):
    """Type of an inner file."""

    SQL = "sql"
    JSON = "json"
    PICTURE = "picture"


@dataclass(frozen=True)
class OldFile:
    """An inner file.

    Attributes:
        name: Name in the tar; that of a media file is arbitrary.
        modified_at: Mtime in the tar, aware UTC.
        stream: Content of the file; read it before the next file is requested.
    """

    part: OldPart
    name: str
    size_bytes: int
    modified_at: datetime
    stream: io.BufferedReader


def most_file_bytes(archive_bytes: int) -> int:
    """Return the largest size of an inner file that an archive of a size can contain."""
    return FREE_BYTES + _INNER_RATIO * archive_bytes


def old_archive_id(kind: ArchiveKind, stamp: str, sha256: str) -> UUID:
    """Return the id of a converted archive; it is the same for each conversion."""
    return uuid5(_ARCHIVE_IDS, f"{kind} {stamp} {sha256}")


def old_files(file: ReadableStream, kind: ArchiveKind) -> Iterator[OldFile]:
    """Yield the inner files of an old archive in order, and read it to its last byte.

    Args:
        file: The archive, at its start.
        kind: Expected kind of the archive.

    Raises:
        OldFormatError: The archive is damaged, or contains files of another kind of archive. This
            may be found only after all files were yielded.
    """
    seen: set[str] = set()
    for entry in tar_entries(gunzip(file, None, _OUTER_RATIO), None):
        name = entry.name.removeprefix("./")
        _expect(name, seen, _ALLOWED[kind], None)
        if name == _DATABASE:
            yield from _database_files(entry, kind)
        elif name == IMAGES:
            yield from _media_files(entry)
    _require({_DATABASE, IMAGES} - seen, None)


def first_modified_at(file: ReadableStream) -> datetime | None:
    """Return the mtime of the first part of an archive, aware UTC; None if unknown.

    It is a time of the sender's clock.
    """
    try:
        entry = next(tar_entries(gunzip(file, None, _OUTER_RATIO), None), None)
    except OldFormatError:
        return None
    return entry.modified_at if entry else None


def _database_files(database: TarEntry, kind: ArchiveKind) -> Iterator[OldFile]:
    seen: set[str] = set()
    part = OldPart.SQL if kind is ArchiveKind.COMPLETE else OldPart.JSON
    for entry in tar_entries(gunzip(database.stream, _DATABASE, _INNER_RATIO), _DATABASE):
        name = entry.name.removeprefix("./")
        _expect(name, seen, _INNER_FILES[kind], _DATABASE)
        yield OldFile(part, name, entry.size_bytes, entry.modified_at, entry.stream)
    _require(_INNER_FILES[kind] - seen, _DATABASE)


def _media_files(images: TarEntry) -> Iterator[OldFile]:
    seen: set[str] = set()
    for entry in tar_entries(gunzip(images.stream, IMAGES, _INNER_RATIO), IMAGES):
        name = entry.name.removeprefix("./")
        if name in seen:
            raise OldFormatError(f"{printable(name)} is in it twice", IMAGES)
        if "/" in name or name in {"", ".", ".."}:
            raise OldFormatError(f"{printable(name)} in it is not a plain file name", IMAGES)
        if len(seen) >= _MOST_MEDIA_FILES:
            raise OldFormatError(f"holds more than {_MOST_MEDIA_FILES} media files", IMAGES)
        seen.add(name)
        yield OldFile(OldPart.PICTURE, name, entry.size_bytes, entry.modified_at, entry.stream)


def _expect(name: str, seen: set[str], allowed: frozenset[str], member: str | None) -> None:
    if name not in allowed:
        known = ", ".join(sorted(allowed))
        raise OldFormatError(f"holds {printable(name)}, and may only hold {known}", member)
    if name in seen:
        raise OldFormatError(f"{name} is in it twice", member)
    seen.add(name)


def _require(missing: set[str] | frozenset[str], member: str | None) -> None:
    if missing:
        raise OldFormatError(f"{', '.join(sorted(missing))} is missing in it", member)
