"""What the old system put into an archive, as a stream of its inner files.

A ``tar.gz`` around more of them: ``database.tar.gz`` (a complete: the plain ``pg_dump``
``database.sql``; a partial: seven files of Django's JSON serializer), ``images.tar.gz``, in a
complete ``migrations.tar.gz``, and ``metadata.txt``. Nothing in it vouches for anything else but
gzip's own checksums, so it counts only when it was read to its last byte.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID, uuid5

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.legacy.tar_stream import (
    ByteSource,
    OldFormatError,
    TarEntry,
    gunzip,
    tar_entries,
)

CUT_TIMES = "times are cut to milliseconds"
"""In place of a digest probe: digests of a converted partial say nothing of the sender's rows."""

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
"""The files of a partial, and the Django model of each."""

_DATABASE, _IMAGES = "database.tar.gz", "images.tar.gz"
_INNER_FILES = {
    ArchiveKind.COMPLETE: frozenset({SQL_FILE}),
    ArchiveKind.PARTIAL: frozenset(JSON_MODELS),
}
_ALLOWED = {
    ArchiveKind.COMPLETE: frozenset({_DATABASE, _IMAGES, "migrations.tar.gz", "metadata.txt"}),
    ArchiveKind.PARTIAL: frozenset({_DATABASE, _IMAGES, "metadata.txt"}),
}
# Inside lie files that are packed already. SQL and JSON shrink to a tenth, seldom to a fiftieth.
_OUTER_RATIO, _INNER_RATIO = 20, 250
# Their names had to fit on the old system's command line (D16).
_MOST_PICTURES = 100_000
_ARCHIVE_IDS = UUID("6c6b1f60-2b8e-4b0e-8f5e-0d8a1f0c7a42")


class OldPart(StrEnum):
    """What an inner file is."""

    SQL = "sql"
    JSON = "json"
    PICTURE = "picture"


@dataclass(frozen=True)
class OldFile:
    """An inner file.

    Attributes:
        name: as it stands in the tar; of a picture it may be anything.
        modified_at: seconds since 1970, whatever the tar says.
        stream: its content, to be read before the next file is asked for.
    """

    part: OldPart
    name: str
    size_bytes: int
    modified_at: float
    stream: io.BufferedReader


def old_archive_id(kind: ArchiveKind, stamp: str, sha256: str) -> UUID:
    """Return the id of what an old archive is converted into: the same one however often that is done."""
    return uuid5(_ARCHIVE_IDS, f"{kind} {stamp} {sha256}")


def old_files(file: ByteSource, kind: ArchiveKind) -> Iterator[OldFile]:
    """Yield the inner files of an old archive, in its own order; its last byte is read at the end.

    Args:
        file: the archive, at its start.
        kind: what it must be.

    Raises:
        OldFormatError: it is damaged, or holds anything but what an archive of this kind holds;
            maybe only after all of its files were yielded.
    """
    seen: set[str] = set()
    for entry in tar_entries(gunzip(file, None, _OUTER_RATIO), None):
        name = entry.name.removeprefix("./")
        _expect(name, seen, _ALLOWED[kind], None)
        if name == _DATABASE:
            yield from _database_files(entry, kind)
        elif name == _IMAGES:
            yield from _pictures(entry)
    _require({_DATABASE, _IMAGES} - seen, None)


def first_modified_at(file: ByteSource) -> float | None:
    """Return when the first part of an archive was made by the sender's clock; None if it cannot be told.

    Seconds since 1970.
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


def _pictures(images: TarEntry) -> Iterator[OldFile]:
    seen: set[str] = set()
    for entry in tar_entries(gunzip(images.stream, _IMAGES, _INNER_RATIO), _IMAGES):
        name = entry.name.removeprefix("./")
        if name in seen:
            raise OldFormatError(f"{printable(name)} stands in it twice", _IMAGES)
        if "/" in name or name in {"", ".", ".."}:
            raise OldFormatError(f"{printable(name)} in it is no plain file name", _IMAGES)
        if len(seen) >= _MOST_PICTURES:
            raise OldFormatError(f"holds more than {_MOST_PICTURES} pictures", _IMAGES)
        seen.add(name)
        yield OldFile(OldPart.PICTURE, name, entry.size_bytes, entry.modified_at, entry.stream)


def _expect(name: str, seen: set[str], allowed: frozenset[str], member: str | None) -> None:
    if name not in allowed:
        known = ", ".join(sorted(allowed))
        raise OldFormatError(f"holds {printable(name)}, and may only hold {known}", member)
    if name in seen:
        raise OldFormatError(f"{name} stands in it twice", member)
    seen.add(name)


def _require(missing: set[str] | frozenset[str], member: str | None) -> None:
    if missing:
        raise OldFormatError(f"{', '.join(sorted(missing))} is missing in it", member)
