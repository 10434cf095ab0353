"""A media file of an archive, as a row of the database in the build folder."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from ar_sync_pipeline.archive.file_stamp import FileStamp
from ar_sync_pipeline.archive.manifest_media import MediaEntry
from ar_sync_pipeline.archive.microseconds import from_microseconds, to_microseconds
from ar_sync_pipeline.media.media_file import MediaFile


class Status(IntEnum):
    """What an archive does with a file."""

    CARRIED = 0
    LISTED = 1
    HELD = 2


@dataclass(frozen=True, slots=True)
class BundledFile:
    """A media file as it was found, and its content once it was hashed.

    Attributes:
        path: Path relative to the media folder.
        modified_us: Mtime in microseconds since 1970.
        sha256: SHA-256 of its content; None: it was not hashed yet.
        status: Whether the archive carries it, lists it only, or leaves it out because the receiver
            has it.
        stamp: Stamp before it was hashed; None: it had changed just before.
    """

    path: str
    size_bytes: int
    modified_us: int
    sha256: str | None
    status: Status
    stamp: FileStamp | None

    @property
    def entry(self) -> MediaEntry:
        """Entry of a hashed file in an archive."""
        return self._entry(carried=self.status is Status.CARRIED)

    @property
    def described(self) -> MediaEntry:
        """Entry of a hashed file, whether the archive carries it or not."""
        return self._entry(carried=True)

    def _entry(self, *, carried: bool) -> MediaEntry:
        return MediaEntry(
            path=self.path,
            size_bytes=self.size_bytes,
            sha256=self.sha256 or "",
            modified_at=from_microseconds(self.modified_us),
            carried=carried,
        )

    def found_in(self, folder: Path) -> MediaFile:
        """Return the file as the inventory of the folder describes it."""
        modified_at = from_microseconds(self.modified_us)
        return MediaFile(self.path, folder, self.size_bytes, modified_at, self.stamp)


def file_of_row(row: tuple[Any, ...]) -> BundledFile:
    """Return the file of a row."""
    path, size_bytes, modified_us, sha256, status, *_ = row
    return BundledFile(path, size_bytes, modified_us, sha256, Status(status), stamp_of_row(row))


def stamp_of_row(row: tuple[Any, ...]) -> FileStamp | None:
    """Return the stamp of a row; None: the file had changed just before."""
    _, size_bytes, _, _, _, device, inode, modified_ns, changed_ns = row
    return None if inode is None else FileStamp(device, inode, size_bytes, modified_ns, changed_ns)


def found_row(file: MediaFile) -> tuple[object, ...]:
    """Return the columns of a file that was found."""
    return (
        file.path,
        file.size_bytes,
        to_microseconds(file.modified_at),
        *stamp_columns(file.stamp),
    )


def stamp_columns(stamp: FileStamp | None) -> tuple[int | None, ...]:
    """Return the columns of a stamp."""
    if stamp is None:
        return (None, None, None, None)
    return (stamp.device, stamp.inode, stamp.modified_ns, stamp.changed_ns)
