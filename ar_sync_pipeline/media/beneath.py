"""Opening files beneath a folder without ever following a symbolic link out of it.

A path is walked one component at a time, each relative to the descriptor of the one before and
with ``O_NOFOLLOW`` (openat(2)), so nothing that happens to the tree meanwhile can lead outside.
The folder itself is the operator's setting and may be a link.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ar_sync_pipeline.archive.member_names import name_problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPORARY_PREFIX = ".ar-sync-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a named pipe must not wait for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def media_name_problem(name: str) -> str | None:
    """Why a name cannot be that of a media file, relative to the media folder; None if it can."""
    problem = name_problem(name)
    if problem is None and any(
        component.startswith(TEMPORARY_PREFIX) for component in name.split("/")
    ):
        return f"names that start with {TEMPORARY_PREFIX} are those of unfinished files"
    return problem


@contextmanager
def open_parent(folder: Path, name: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
    """The descriptor of the folder in which ``name`` lies, and the last component of the name.

    Args:
        folder: the media folder.
        name: a name that `media_name_problem` accepts.
        create: make missing subfolders.

    Raises:
        OSError: as from openat; ``ELOOP`` or ``ENOTDIR`` where a component is a link or a file.
    """
    *parents, last = name.split("/")
    fd = os.open(folder, _FOLDER)
    try:
        for parent in parents:
            if create:
                _make_folder(fd, parent)
            child = os.open(parent, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = child
        yield fd, last
    finally:
        os.close(fd)


@contextmanager
def open_nearest(folder: Path, name: str) -> Iterator[tuple[int, int]]:
    """The deepest existing folder of a name's folders, and how many of its folders exist.

    It is on the file system on which the missing ones would be made. A regular file in the place
    of a folder counts as missing.

    Args:
        folder: the media folder.
        name: a name that `media_name_problem` accepts.

    Raises:
        OSError: as from openat; ``ENOTDIR`` where a component is a link or special file.
    """
    fd, depth = os.open(folder, _FOLDER), 0
    try:
        for parent in name.split("/")[:-1]:
            try:
                child = os.open(parent, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
            except FileNotFoundError:
                break
            except NotADirectoryError:
                if not stat.S_ISREG(os.stat(parent, dir_fd=fd, follow_symlinks=False).st_mode):
                    raise
                break
            os.close(fd)
            fd, depth = child, depth + 1
        yield fd, depth
    finally:
        os.close(fd)


def open_file(folder_fd: int, name: str) -> int:
    """A descriptor for reading the file of this name in a folder; never through a link."""
    return os.open(name, _FILE, dir_fd=folder_fd)


def _make_folder(fd: int, name: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=fd)
