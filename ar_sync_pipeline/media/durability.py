"""Makes written files and changed folders durable: a few one by one, many by their file system.

fsync(2) of each of a hundred thousand files takes minutes. syncfs(2) writes everything that waits
in a file system at once, also for other programs, so a few files are not worth it. It reports
failed writes since Linux 5.8 (man page, "ERRORS"); on an older kernel, or another system, each file
is fsynced.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable

_MOST_SINGLE = 64
_FIRST_WITH_ERRORS = (5, 8)


class Durability:
    """Files and folders that are durable after `flush`."""

    def __init__(self) -> None:
        self._count = 0
        self._file_systems: dict[int, int] = {}

    def add_file(self, fd: int, folder: int) -> None:
        """Make a written file durable, now or with the next `flush`.

        Args:
            fd: Descriptor of the file.
            folder: Descriptor of its folder, opened before the file was written: a later one does
                not report an earlier error.
        """
        self._count += 1
        if self._count <= _MOST_SINGLE or not self._hold(folder):
            os.fsync(fd)

    def add_folder(self, fd: int) -> None:
        """Make the names in a folder durable, now or with the next `flush`."""
        if not self._hold(fd):
            os.fsync(fd)

    def flush(self) -> None:
        """Make everything durable that was added.

        Raises:
            OSError: Something could not be written.
        """
        for fd in self._file_systems.values():
            _syncfs(fd)

    def close(self) -> None:
        """Close the file systems."""
        for fd in self._file_systems.values():
            os.close(fd)
        self._file_systems.clear()

    def _hold(self, fd: int) -> bool:
        """Hold the file system of a descriptor open; return whether `flush` can write it."""
        if not HAS_SYNCFS:
            return False
        device = os.fstat(fd).st_dev
        if device not in self._file_systems:
            self._file_systems[device] = os.dup(fd)
        return True


def _find_syncfs() -> Callable[[int], int] | None:
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if os.uname().sysname != "Linux" or release is None:
        return None
    if tuple(map(int, release.groups())) < _FIRST_WITH_ERRORS:
        return None
    function: Callable[[int], int] | None = getattr(
        ctypes.CDLL(None, use_errno=True), "syncfs", None
    )
    return function


_SYNCFS = _find_syncfs()
HAS_SYNCFS = _SYNCFS is not None
"""Whether a file system can be made durable at once."""


def _syncfs(fd: int) -> None:
    if _SYNCFS is not None and _SYNCFS(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
