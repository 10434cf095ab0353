"""Media files that are found, and entries of the media folder that cannot be sent."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ar_sync_pipeline.archive.file_stamp import FileStamp, stamp_if_steady
from ar_sync_pipeline.archive.microseconds import nearest_instant


@dataclass(frozen=True, order=True, slots=True)
class MediaFile:
    """A media file that can be sent.

    Attributes:
        path: Path relative to the media folder, with ``/`` between components.
        folder: The media folder.
        size_bytes: Size when the file was found, in bytes.
        modified_at: Mtime of the file, aware UTC, to the microsecond.
        stamp: Stamp of the file when it was found; None: it had changed just before.
    """

    path: str
    folder: Path
    size_bytes: int
    modified_at: datetime
    stamp: FileStamp | None = field(default=None, compare=False)

    @classmethod
    def of(cls, path: str, folder: Path, facts: os.stat_result) -> MediaFile:
        """Create a file from a ``stat`` result of just now."""
        stamp = stamp_if_steady(facts)
        return cls(path, folder, facts.st_size, modified_at(facts), stamp)

    @property
    def location(self) -> Path:
        """Path of the file."""
        return self.folder / self.path


@dataclass(frozen=True)
class RefusedName:
    """A name that cannot be sent, with the reason.

    Attributes:
        name: The name as it is; it may contain invisible characters.
        reason: The reason, as a clause.
        temporary: Whether the file can be sent later, when it is readable.
        omits: Path of the link or special file, or of the folder reached by one, so that a file at
            the receiver does not count as deleted; None: there is none.
    """

    name: str
    reason: str
    temporary: bool = False
    omits: str | None = None


@dataclass(frozen=True)
class OmittedMedia:
    """An entry of the media folder that cannot be sent now.

    Attributes:
        path: Path relative to the media folder; that of a folder ends with ``/``.
        reason: The reason, as a clause.
        temporary: Whether the entry can be sent later, when it is readable.
    """

    path: str
    reason: str
    temporary: bool = False


@dataclass(frozen=True)
class ReferencedMedia:
    """Result for the names in rows; each name is in exactly one of the three.

    Attributes:
        found: Files inside the media folder, sorted.
        missing: Safe names without a file, sorted.
        refused: Names that are not those of a regular file inside the folder.
    """

    found: tuple[MediaFile, ...]
    missing: tuple[str, ...]
    refused: tuple[RefusedName, ...]


def modified_at(facts: os.stat_result) -> datetime:
    """Return the mtime as aware UTC, within the range of datetime."""
    # A float of seconds is too imprecise for microseconds. Cameras without a clock and 64-bit file
    # systems have times outside the range of datetime.
    return nearest_instant(facts.st_mtime_ns // 1000)
