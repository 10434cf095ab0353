"""Putting a media file in its place: whole, checked and durable, or not at all.

The old system copied with ``cp -n``, so that a truncated picture was installed and then never
replaced (D12, D38). Here a file appears under its name by one rename, after its sha256.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

from ar_sync_pipeline.files import open_file
from ar_sync_pipeline.media.beneath import (
    TEMPORARY_PREFIX,
    media_name_problem,
    open_parent,
)
from ar_sync_pipeline.media.errors import (
    MediaContentError,
    MediaFolderError,
    MediaNameError,
    MediaSpaceError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ar_sync_pipeline.archive.manifest import MediaEntry

_PIECE_BYTES = 1024 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEFTOVER = re.compile(re.escape(TEMPORARY_PREFIX) + r"[0-9a-f]{16}")
_ASIDE = ".moved-aside-"
_LONGEST_SHOWN = 200
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class Outcome(StrEnum):
    """What `install_media` did."""

    INSTALLED = "installed"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    MADE_ROOM = "installed, what was in its place moved aside"


class ReadableStream(Protocol):
    """Anything that a file's bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Up to ``size`` bytes; empty at the end."""


def install_media(stream: ReadableStream, entry: MediaEntry, folder: Path) -> Outcome:
    """Install one file below the media folder; nothing is visible of it before it is whole.

    A file that has the same size and sha256 already is left alone, and the stream unread. A folder
    in the place of the file, or a file in that of one of its folders, is moved aside under a name
    with ``.moved-aside-`` in it, since the sender has something else there by now and nobody knows
    whether all of it came from there; an empty folder is removed.

    Args:
        stream: the file's bytes.
        entry: what the archive's manifest says of it.
        folder: the media folder, which must exist.

    Raises:
        MediaNameError: the name is not that of a file inside the folder.
        MediaContentError: the stream's bytes are not those declared; the file is as it was.
        MediaSpaceError: the disk has no room.
        MediaFolderError: a link or missing rights stand in the way.
    """
    problem = media_name_problem(entry.path)
    if problem is not None:
        raise MediaNameError(
            f"media name {entry.path!r} is refused, {problem}",
            remedy="correct the name on the sender, in the picture folder or the row",
        )
    try:
        made_room = _make_room_for_folders(folder, entry.path)
        with open_parent(folder, entry.path, create=True) as (parent, name):
            existing = _existing_size(parent, name)
            if existing == entry.size_bytes and _sha256_of(parent, name) == entry.sha256:
                return Outcome.UNCHANGED
            _check_space(parent, entry, folder)
            made_room |= _write(stream, entry, parent, name)
    except OSError as error:
        raise _explained(error, entry, folder) from error
    if made_room:
        return Outcome.MADE_ROOM
    return Outcome.INSTALLED if existing is None else Outcome.REPLACED


def clean_leftovers(folder: Path) -> int:
    """Remove what installs that were killed left below the folder; returns how many files.

    Only regular files under exactly the installer's temporary names are removed, and links are
    not followed. Not to be run while another process installs.

    Raises:
        MediaFolderError: a folder cannot be read, or a file not be removed.
    """
    removed = 0
    try:
        for _, _, names, fd in os.fwalk(folder, onerror=_raise, follow_symlinks=False):
            for name in filter(_LEFTOVER.fullmatch, names):
                if stat.S_ISREG(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=fd)
                    removed += 1
    except OSError as error:
        raise MediaFolderError(
            f"media folder {folder} cannot be cleaned ({error.strerror})",
            remedy="give this account the right to list and change it",
        ) from error
    return removed


def _make_room_for_folders(folder: Path, path: str) -> bool:
    """Move a regular file aside that has the name of one of the path's folders; links stay."""
    parents = list(PurePosixPath(path).parents)[-2::-1]
    for parent in parents:
        try:
            with open_parent(folder, str(parent)) as (fd, name):
                mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
                if stat.S_ISREG(mode):
                    _move_aside(fd, name)
                    return True
        except FileNotFoundError:
            break
    return False


def _move_aside(parent: int, name: str) -> None:
    # Short enough for any file system, whatever the name's length.
    shown = name.encode()[:_LONGEST_SHOWN].decode(errors="ignore")
    aside = f"{shown}{_ASIDE}{secrets.token_hex(4)}"
    os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
    os.fsync(parent)


def _clear_folder(parent: int, name: str) -> bool:
    """Make room for a file where there is a folder; whether there was one that was not empty."""
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return False
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        _move_aside(parent, name)
        return True
    return False


def _write(stream: ReadableStream, entry: MediaEntry, parent: int, name: str) -> bool:
    """Write the file and give it its name; whether something had to be moved aside for it."""
    temporary = TEMPORARY_PREFIX + secrets.token_hex(8)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=parent), "wb", buffering=0) as file:
        try:
            _copy_checked(stream, entry, file.fileno())
            modified_ns = (entry.modified_at - _EPOCH) // timedelta(microseconds=1) * 1000
            os.utime(file.fileno(), ns=(modified_ns, modified_ns))
            os.fsync(file.fileno())
            made_room = _clear_folder(parent, name)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            raise
    os.fsync(parent)
    return made_room


def _copy_checked(stream: ReadableStream, entry: MediaEntry, fd: int) -> None:
    digest = hashlib.sha256()
    size_bytes = 0
    while piece := stream.read(_PIECE_BYTES):
        size_bytes += len(piece)
        if size_bytes > entry.size_bytes:
            break
        digest.update(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(fd, view) :]
    if size_bytes != entry.size_bytes or digest.hexdigest() != entry.sha256:
        raise MediaContentError(
            f"media file {entry.path!r} is not what the manifest declares"
            f" ({size_bytes} of {entry.size_bytes} bytes, or another sha256)",
            remedy="the installed file was left as it was, have the archive sent again",
        )


def _existing_size(parent: int, name: str) -> int | None:
    """Size of the regular file under the name, -1 for anything else, None if there is nothing."""
    try:
        facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return facts.st_size if stat.S_ISREG(facts.st_mode) else -1


def _sha256_of(parent: int, name: str) -> str:
    with os.fdopen(open_file(parent, name), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_space(parent: int, entry: MediaEntry, folder: Path) -> None:
    facts = os.fstatvfs(parent)
    free_bytes = facts.f_bavail * facts.f_frsize
    if entry.size_bytes > free_bytes:
        raise MediaSpaceError(
            f"media file {entry.path!r} needs {entry.size_bytes} bytes, and {folder} has"
            f" {free_bytes} left",
            remedy="make room on that disk, the load is tried again",
        )


def _explained(
    error: OSError, entry: MediaEntry, folder: Path
) -> MediaFolderError | MediaSpaceError:
    problem = f"media file {entry.path!r} cannot be put into {folder} ({error.strerror})"
    if error.errno in _NO_SPACE:
        return MediaSpaceError(problem, remedy="make room on that disk, the load is tried again")
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR}:
        return MediaFolderError(
            problem, remedy="remove the link or special file that stands in its way"
        )
    return MediaFolderError(problem, remedy="check the folder and this account's rights in it")


def _raise(error: OSError) -> None:
    raise error
