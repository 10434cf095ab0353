"""Opens files below a folder without following a symbolic link out of it.

A path is opened one component at a time, each relative to the descriptor of the previous one and
with ``O_NOFOLLOW`` (openat(2)), so no concurrent change of the tree leads outside. The folder
itself comes from the settings and may be a link.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ar_sync_pipeline.archive.member_names import is_plain_name, name_problem
from ar_sync_pipeline.files import HeldFolder
from ar_sync_pipeline.media.errors import MediaNameError
from ar_sync_pipeline.visible_text import quoted

TEMPORARY_PREFIX = ".ar-sync-"


def media_name_problem(name: str) -> str | None:
    """Return why a name is not safe as that of a media file; None if it is safe."""
    if is_plain_name(name):
        return None
    problem = name_problem(name)
    if problem is None and any(
        component.startswith(TEMPORARY_PREFIX) for component in name.split("/")
    ):
        return f"names that start with {TEMPORARY_PREFIX} are those of unfinished files"
    return problem


def is_safe_path(path: str) -> bool:
    """Return whether the path of a file is safe, or of a folder, which ends with ``/``."""
    return media_name_problem(path.removesuffix("/")) is None


def check_media_name(name: str) -> None:
    """Refuse the name of a media file from an archive unless it is safe.

    Raises:
        MediaNameError: The name is not that of a file inside the folder.
    """
    problem = media_name_problem(name)
    if problem is not None:
        raise MediaNameError(
            f"media name {quoted(name)} is refused, {problem}",
            remedy="correct the name at the sender, in the media folder or the row",
        )


@contextmanager
def open_parent(folder: Path, name: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
    """Open the folder of a file; yield its descriptor and the last component of the name.

    Args:
        folder: The media folder.
        name: A name that `media_name_problem` accepts.
        create: Whether to make missing subfolders; the caller makes them durable.

    Raises:
        OSError: Error of openat; ``ELOOP`` or ``ENOTDIR`` if a component is a link or a file.
    """
    *parents, last = name.split("/")
    held = HeldFolder.open(folder, follow=True)
    try:
        for parent in parents:
            if create:
                held.make_folder(parent, durable=False)
            child = held.subfolder(parent)
            held.close()  # a path may have more folders than a process may open descriptors
            held = child
        yield held.fd, last
    finally:
        held.close()


@contextmanager
def open_nearest(folder: Path, name: str) -> Iterator[tuple[int, int]]:
    """Open the deepest existing folder of a name; yield its descriptor and its depth.

    Missing folders would be made on its file system. A regular file that has the name of a folder
    counts as missing.

    Args:
        folder: The media folder.
        name: A name that `media_name_problem` accepts.

    Raises:
        OSError: Error of openat; ``ENOTDIR`` if a component is a link or a special file, with its
            path in the media folder as `filename`.
    """
    held, depth, parents = HeldFolder.open(folder, follow=True), 0, name.split("/")[:-1]
    try:
        for parent in parents:
            try:
                child = held.subfolder(parent)
            except FileNotFoundError:
                break
            except NotADirectoryError as error:
                if held.file_facts(parent) is None:
                    error.filename = "/".join(parents[: depth + 1])
                    raise
                break
            held.close()
            held, depth = child, depth + 1
        yield held.fd, depth
    finally:
        held.close()


class OpenParent:
    """Keeps the folder of the last file open, as `NearestFolder`, for files that have one."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._place: tuple[Path, str] | None = None
        self._fd = -1

    def of(self, folder: Path, name: str, *, create: bool = False) -> tuple[int, str]:
        """Return what `open_parent` yields, valid until the next call.

        Raises:
            OSError: See `open_parent`.
        """
        place = folder, name.rpartition("/")[0]
        if place != self._place:
            self.close()
            opened = open_parent(folder, name, create=create)
            self._fd, _ = self._open.enter_context(opened)
            self._place = place
        return self._fd, name.rpartition("/")[2]

    def close(self) -> None:
        """Close the folder that is open."""
        self._open.close()
        self._place = None


class NearestFolder:
    """Keeps the folder of the last file open, since the next one is often in the same folder.

    Args:
        folder: The media folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._parents: str | None = None
        self._nearest = (-1, 0)

    def of(self, name: str) -> tuple[int, int]:
        """Return descriptor and depth of the deepest existing folder of a name.

        They are valid until the next call; a folder that is made or moved meanwhile is not seen.

        Raises:
            OSError: See `open_nearest`.
        """
        parents = name.rpartition("/")[0]
        if parents != self._parents:
            self.close()
            self._nearest = self._open.enter_context(open_nearest(self._folder, name))
            self._parents = parents
        return self._nearest

    def close(self) -> None:
        """Close the folder that is open."""
        self._open.close()
        self._parents = None
