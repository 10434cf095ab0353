"""Whether a media folder has the files that were installed there, or is the folder below its mount.

Only a sample of the files is looked for, so that the check takes milliseconds however many there
are, and it counts only if all of them are missing: people delete files singly, or a subfolder.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from heapq import heappush, heapreplace
from pathlib import Path

from ar_sync_pipeline.media.inventory import is_empty

_MOST_PATHS = 200
# A person may have deleted fewer files one by one.
_LEAST_PATHS = 5


class PathSample:
    """A sample of paths, spread over all of them, whatever their number."""

    def __init__(self) -> None:
        self._largest_first: list[tuple[int, str]] = []

    def add(self, path: str) -> None:
        """Take a path into account."""
        entry = (-zlib.crc32(path.encode()), path)
        if len(self._largest_first) < _MOST_PATHS:
            heappush(self._largest_first, entry)
        elif entry > self._largest_first[0]:
            heapreplace(self._largest_first, entry)

    @property
    def paths(self) -> tuple[str, ...]:
        """The sample."""
        return tuple(sorted(path for _, path in self._largest_first))


def are_all_missing(folder: Path, paths: Sequence[str]) -> bool:
    """Return whether a folder that can be read has none of the files, which are not just a few."""
    if len(paths) < _LEAST_PATHS or not os.access(folder, os.R_OK | os.X_OK):
        return False
    return not any(os.path.lexists(folder / path) for path in paths)


def mount_point(folder: Path) -> Path:
    """Return where the file system of a folder is mounted."""
    found = Path(os.path.realpath(folder))
    while not found.is_mount():
        found = found.parent
    return found


def is_below_mount(folder: Path, mounted_at: Path) -> bool:
    """Return whether a folder looks like the one below a mount: it is empty, and not mounted."""
    return mount_point(folder) != mounted_at and is_empty(folder)
