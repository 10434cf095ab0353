"""Opening files beneath a folder without ever following a symbolic link out of it.

A path is walked one component at a time, each relative to the descriptor of the one before and
with ``O_NOFOLLOW`` (openat(2)), so nothing that happens to the tree meanwhile can lead outside.
The folder itself is the operator's setting and may be a link.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ar_sync_pipeline.archive.member_names import name_problem
from ar_sync_pipeline.files import HeldFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPORARY_PREFIX = ".ar-sync-"


def media_name_problem(name: str) -> str | None:
    """Return why a name cannot be that of a media file, relative to the media folder; None if it can."""
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
    held = HeldFolder.open(folder, follow=True)
    try:
        for parent in parents:
            if create:
                held.make_folder(parent)
            child = held.subfolder(parent)
            held.close()  # a path may have more folders than a process may hold descriptors
            held = child
        yield held.fd, last
    finally:
        held.close()


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
    held, depth = HeldFolder.open(folder, follow=True), 0
    try:
        for parent in name.split("/")[:-1]:
            try:
                child = held.subfolder(parent)
            except FileNotFoundError:
                break
            except NotADirectoryError:
                if held.file_facts(parent) is None:
                    raise
                break
            held.close()
            held, depth = child, depth + 1
        yield held.fd, depth
    finally:
        held.close()
