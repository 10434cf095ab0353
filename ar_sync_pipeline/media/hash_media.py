"""Reads media files to their ends for their entries in a manifest."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing

from ar_sync_pipeline.archive.manifest_fields import MOST_BYTES
from ar_sync_pipeline.archive.manifest_media import MediaEntry
from ar_sync_pipeline.files import is_mostly_holes, open_file
from ar_sync_pipeline.media.errors import (
    GONE,
    MediaChangedError,
    MediaGoneError,
    MediaUnreadableError,
)
from ar_sync_pipeline.media.media_file import MediaFile, modified_at
from ar_sync_pipeline.media.safe_paths import OpenParent
from ar_sync_pipeline.progress import report_progress
from ar_sync_pipeline.visible_text import visible

_READ_BYTES = 1024 * 1024
_READ_SOON_BYTES = 64 * 10**9


def hash_media(files: Iterable[MediaFile]) -> Iterator[MediaEntry]:
    """Read each file to its end and yield its manifest entry.

    Raises:
        MediaGoneError: A file was deleted.
        MediaUnreadableError: A file cannot be opened or read, or hardly any of it was written.
        MediaChangedError: A file changed while it was read.
    """
    with closing(OpenParent()) as parents:
        for file in files:
            try:
                entry = _hash_file(file, *parents.of(file.folder, file.path))
            except OSError as error:
                kind = MediaGoneError if error.errno in GONE else MediaUnreadableError
                raise _changed(file, str(error.strerror), kind) from error
            yield entry


def _hash_file(file: MediaFile, parent: int, name: str) -> MediaEntry:
    fd = open_file(parent, name)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise _changed(file, "it is no longer a regular file", MediaGoneError)
        _check_size(fd, before.st_size)
        digest, size_bytes = hashlib.sha256(), 0
        # One byte more shows a file that grows, perhaps faster than it can be read.
        while block := os.read(fd, min(_READ_BYTES, before.st_size - size_bytes + 1)):
            report_progress()
            digest.update(block)
            size_bytes += len(block)
            if size_bytes > before.st_size:
                break
        after = os.fstat(fd)
    finally:
        os.close(fd)
    if (before.st_size, before.st_mtime_ns) != (size_bytes, after.st_mtime_ns):
        raise _changed(file, "it was being written")
    return MediaEntry(
        path=file.path,
        size_bytes=size_bytes,
        sha256=digest.hexdigest(),
        modified_at=modified_at(after),
    )


def _check_size(fd: int, size_bytes: int) -> None:
    """Refuse a file that would take hours to read and fill the receiver's disk, with its zeros."""
    if size_bytes > MOST_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MOST_BYTES:,} bytes")
    # Databases, disk images and copies of them have holes when they are whole, and are read soon.
    enough_bytes = 1 if size_bytes <= _READ_SOON_BYTES else None
    if is_mostly_holes(fd, size_bytes, enough_bytes=enough_bytes):
        raise OSError(errno.EFBIG, f"most of its {size_bytes:,} bytes were never written")


def _changed(
    file: MediaFile, change: str, kind: type[MediaChangedError] = MediaChangedError
) -> MediaChangedError:
    what = "cannot be read" if kind is MediaUnreadableError else "changed while it was hashed"
    return kind(
        f"{visible(str(file.location))} {what} ({change})", remedy="build the archive again"
    )
