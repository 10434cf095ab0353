"""Staging media files: whole, checked and durable under a temporary name, not yet in their place.

The old system copied with ``cp -n``, so that a truncated picture was installed and then never
replaced (D12, D38). Here a file gets its name by one rename, after its sha256, and only when the
rows that came with it are about to be committed (`ar_sync_pipeline.media.install`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from uuid import UUID

from ar_sync_pipeline.archive.manifest import MediaEntry
from ar_sync_pipeline.files import open_file
from ar_sync_pipeline.media.errors import (
    MediaContentError,
    MediaFolderError,
    MediaNameError,
    MediaSpaceError,
)
from ar_sync_pipeline.media.journal import JournalWriter, StagedFile, staged_name
from ar_sync_pipeline.media.safe_paths import media_name_problem, open_nearest
from ar_sync_pipeline.media.web_content import left_out_because
from ar_sync_pipeline.visible_text import quoted

_PIECE_BYTES = 1024 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class Outcome(StrEnum):
    """What becomes of a media file when its archive is applied."""

    INSTALLED = "installed"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    MADE_ROOM = "installed, what was in its place moved aside"
    LEFT_OUT = "left out"


class ReadableStream(Protocol):
    """Anything that a file's bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Return up to ``size`` bytes; empty at the end."""


class MediaStage:
    """The media files of one load, while they wait for its rows.

    Args:
        folder: the media folder, which must exist.
        owner: eight hexadecimal digits that mark the files of one ledger's loads.
        archives: all that the load applies.
        allowed: patterns of files that are installed although a web server may run them.

    Attributes:
        is_renamed_into_place: whether a file may be in its place already.
    """

    def __init__(
        self, folder: Path, owner: str, archives: Sequence[UUID], allowed: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.owner = owner
        self.journal = JournalWriter(folder, owner, archives)
        self.is_renamed_into_place = False
        self._allowed = allowed
        self._count = 0

    def stage(self, stream: ReadableStream, entry: MediaEntry, archive_id: UUID) -> Outcome:
        """Write one file beside its place, unless it is there already or is left out.

        A file that has the same size and sha256 already is left alone, and the stream unread.

        Args:
            stream: the file's bytes.
            entry: what the archive's manifest says of it.
            archive_id: of the archive.

        Raises:
            MediaNameError: the name is not that of a file inside the folder.
            MediaContentError: the stream's bytes are not those declared; nothing is left of them.
            MediaSpaceError: the disk has no room.
            MediaFolderError: a link or missing rights are in the way.
        """
        problem = media_name_problem(entry.path)
        if problem is not None:
            raise MediaNameError(
                f"media name {quoted(entry.path)} is refused, {problem}",
                remedy="correct the name on the sender, in the picture folder or the row",
            )
        if left_out_because(entry.path, self._allowed) is not None:
            return Outcome.LEFT_OUT
        with explained(self.folder, entry.path), open_nearest(self.folder, entry.path) as nearest:
            parent, depth = nearest
            outcome = _outcome(parent, depth, entry)
            if outcome is not Outcome.UNCHANGED:
                _check_space(parent, entry, self.folder)
                load, number = self.journal.load, self._count
                name = staged_name(load, number)
                inode = _write_checked(stream, entry, parent, name)
                replaces = outcome is not Outcome.INSTALLED
                file = StagedFile(archive_id, entry.path, depth, replaces, inode, load, number)
                self._note(file, parent)
        return outcome

    def _note(self, file: StagedFile, parent: int) -> None:
        try:
            self.journal.add(file)
        except BaseException:
            os.unlink(file.staged_name, dir_fd=parent)
            raise
        self._count += 1


@contextmanager
def explained(folder: Path, path: str | None = None) -> Iterator[None]:
    """Say of which folder and file an error of the operating system is, and what to do.

    Raises:
        MediaSpaceError: the disk is full.
        MediaFolderError: anything else.
    """
    try:
        yield
    except OSError as error:
        what = "media files" if path is None else f"media file {quoted(path)}"
        problem = f"{what} cannot be put into {folder} ({error.strerror})"
        if error.errno in _NO_SPACE:
            remedy = "make room on that disk, the load is tried again"
            raise MediaSpaceError(problem, remedy=remedy) from error
        remedy = "check the folder and this account's rights in it"
        if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR}:
            remedy = "remove the link or special file that stands in its way"
        raise MediaFolderError(problem, remedy=remedy) from error


def _outcome(parent: int, depth: int, entry: MediaEntry) -> Outcome:
    """Return what installing the file will do; UNCHANGED where there is nothing to do."""
    *folders, name = entry.path.split("/")
    existing = _lstat(parent, folders[depth] if depth < len(folders) else name)
    if existing is None:
        return Outcome.INSTALLED
    if depth < len(folders) or stat.S_ISDIR(existing.st_mode):
        return Outcome.MADE_ROOM
    equal = stat.S_ISREG(existing.st_mode) and existing.st_size == entry.size_bytes
    if equal and _sha256_of(parent, name) == entry.sha256:
        return Outcome.UNCHANGED
    return Outcome.REPLACED


def _write_checked(stream: ReadableStream, entry: MediaEntry, parent: int, name: str) -> int:
    """Write the file under a temporary name; returns its inode."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o644, dir_fd=parent), "wb", buffering=0) as file:
        try:
            _copy_checked(stream, entry, file.fileno())
            modified_ns = (entry.modified_at - _EPOCH) // timedelta(microseconds=1) * 1000
            os.utime(file.fileno(), ns=(modified_ns, modified_ns))
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_ino
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
            raise


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
            f"media file {quoted(entry.path)} is not what the manifest declares"
            f" ({size_bytes} of {entry.size_bytes} bytes, or another sha256)",
            remedy="the installed file was left as it was, have the archive sent again",
        )


def _lstat(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _sha256_of(parent: int, name: str) -> str:
    with os.fdopen(open_file(parent, name), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_space(parent: int, entry: MediaEntry, folder: Path) -> None:
    facts = os.fstatvfs(parent)
    free_bytes = facts.f_bavail * facts.f_frsize
    if entry.size_bytes > free_bytes:
        raise MediaSpaceError(
            f"media file {quoted(entry.path)} needs {entry.size_bytes} bytes, and {folder} has"
            f" {free_bytes} left",
            remedy="make room on that disk, the load is tried again",
        )
