"""Check that the receiver has a media file that an archive lists and does not carry.

A file with the installed size and mtime, or what the file system keeps of it, counts as unchanged.
In addition, each daily complete compares a share of the files by content: each file once in
`CONTENT_CHECK_DAYS`. A file that has the content and another time gets the time of the archive, so
that it is not read again with each complete after the sender's files were copied or touched.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ar_sync_pipeline.archive.manifest_media import ListedMedia
from ar_sync_pipeline.files import open_file, status_of
from ar_sync_pipeline.media.safe_paths import NearestFolder, check_media_name
from ar_sync_pipeline.media.stage import explained, has_content, modified_ns
from ar_sync_pipeline.media.web_content import exclusion_reason

CONTENT_CHECK_DAYS = 30
_SECOND_NS = 1_000_000_000


class HeldFiles:
    """Checks of files in the media folder; the folder of the last one stays open for the next.

    Args:
        folder: The media folder.
        dates: Whether to give files with the right content the modification time of the archive.
    """

    def __init__(self, folder: Path, *, dates: bool = False) -> None:
        self._folder = folder
        self._dates = dates
        self._nearest = NearestFolder(folder)

    def has(self, entry: ListedMedia, snapshot_at: datetime) -> bool:
        """Return whether the folder has a file as an archive of this snapshot lists it.

        Raises:
            MediaNameError: The name is not that of a file inside the folder.
            MediaFolderError: A link blocks the path, or permissions are missing.
        """
        check_media_name(entry.path)
        with explained(self._folder, entry.path, action="read in"):
            return self._has(entry, snapshot_at)

    def close(self) -> None:
        """Close the folder that is open."""
        self._nearest.close()

    def _has(self, entry: ListedMedia, snapshot_at: datetime) -> bool:
        name = entry.path.rpartition("/")[2]
        parent, depth = self._nearest.of(entry.path)
        facts = status_of(parent, name) if depth == entry.path.count("/") else None
        if facts is None or not stat.S_ISREG(facts.st_mode) or facts.st_size != entry.size_bytes:
            return False
        as_installed = facts.st_mtime_ns in _kept_times(modified_ns(entry))
        if as_installed and not is_checked_by_content(entry.path, snapshot_at):
            return True
        with os.fdopen(open_file(parent, name), "rb") as file:
            if not has_content(file, entry):
                return False
            if self._dates and not as_installed:
                _date(file.fileno(), facts, entry)
        return True


def _kept_times(time_ns: int) -> set[int]:
    """Return what a file system may have kept of a time: some keep seconds, FAT even ones."""
    return {time_ns, *(time_ns - time_ns % unit for unit in (_SECOND_NS, 2 * _SECOND_NS))}


def _date(fd: int, before: os.stat_result, entry: ListedMedia) -> None:
    """Set the modification time of a file, unless it was written to after it was found."""
    if os.fstat(fd).st_mtime_ns == before.st_mtime_ns:
        with suppress(OSError):  # the file of another account, or a read-only file system
            os.utime(fd, ns=(before.st_atime_ns, modified_ns(entry)))


def is_left_out(entry: ListedMedia, allowed: Sequence[str]) -> bool:
    """Return whether this receiver does not install a file, so that it cannot lack it."""
    return exclusion_reason(entry.path, allowed) is not None


def is_checked_by_content(path: str, snapshot_at: datetime) -> bool:
    """Return whether a file belongs to the share that is compared by content on this day."""
    number = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4])
    return (number + snapshot_at.toordinal()) % CONTENT_CHECK_DAYS == 0
