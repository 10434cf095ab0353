"""Stages media files: whole and checked under temporary names, and durable before they are used.

The old system copied with ``cp -n``: a truncated picture was installed and never replaced (D12,
D38). Here one rename gives a file its name, after its sha256 was checked and just before the rows
of its archive are committed (`ar_sync_pipeline.media.install`).
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from ar_sync_pipeline.archive.chunk_member import ReadableStream
from ar_sync_pipeline.archive.manifest_media import ListedMedia
from ar_sync_pipeline.disk_errors import BROKEN, NO_SPACE
from ar_sync_pipeline.files import create_file, digest_of, free_space, open_file, status_of
from ar_sync_pipeline.media.durability import Durability
from ar_sync_pipeline.media.errors import (
    MediaContentError,
    MediaFolderError,
    MediaSpaceError,
)
from ar_sync_pipeline.media.journal import JournalWriter, StagedFile, staged_name
from ar_sync_pipeline.media.safe_paths import NearestFolder, check_media_name
from ar_sync_pipeline.media.web_content import exclusion_reason
from ar_sync_pipeline.visible_text import quoted

_READ_BYTES = 1024 * 1024
_REMEDIES: dict[int | None, str] = {
    **dict.fromkeys(
        (errno.ELOOP, errno.ENOTDIR, errno.EISDIR),
        "remove the link or special file that blocks the path",
    ),
    # Some file systems take 143 bytes of a name, or no colon.
    **dict.fromkeys(
        (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ),
        "rename the file at the sender, or move the folder to a file system that accepts the name",
    ),
}


class Outcome(StrEnum):
    """Result for a media file when its archive is applied."""

    INSTALLED = "installed"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    DISPLACED = "installed, what was in its place moved aside"
    LEFT_OUT = "left out"


class MediaStage:
    """Media files of one load, before its rows are committed.

    Args:
        folder: The media folder, which must exist.
        owner: Eight hexadecimal digits that mark the temporary names of one ledger.
        archives: Ids of all archives that the load applies.
        allowed: Patterns of files that are installed although a web server may run them.

    Attributes:
        durability: Staged files, which are durable after its `flush`.
        is_renamed_into_place: Whether a file may already have its final name.
        needs_preparation: Whether a file replaces an entry, or its folder does not exist yet.
    """

    def __init__(
        self, folder: Path, owner: str, archives: Sequence[UUID], allowed: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.owner = owner
        self.journal = JournalWriter(folder, owner, archives)
        self.durability = Durability()
        self.is_renamed_into_place = False
        self.needs_preparation = False
        self._nearest = NearestFolder(folder)
        self._allowed = allowed
        self._count = 0

    def stage(self, stream: ReadableStream, entry: ListedMedia, archive_id: UUID) -> Outcome:
        """Write one file under a temporary name, unless it is unchanged or excluded.

        If the installed file has the same size and sha256, the stream is not read.

        Args:
            stream: Stream of the file's bytes.
            entry: Entry of the file in the manifest.
            archive_id: Id of the archive.

        Raises:
            MediaNameError: The name is not that of a file inside the folder.
            MediaContentError: The bytes of the stream differ from the manifest; they are removed.
            MediaSpaceError: The disk has too little free space.
            MediaFolderError: A link blocks the path, or permissions are missing.
        """
        check_media_name(entry.path)
        if exclusion_reason(entry.path, self._allowed) is not None:
            return Outcome.LEFT_OUT
        with explained(self.folder, entry.path):
            parent, depth = self._nearest.of(entry.path)
            outcome = _outcome(parent, depth, entry)
            if outcome is not Outcome.UNCHANGED:
                _check_space(parent, entry, self.folder)
                load, number = self.journal.load, self._count
                name = staged_name(load, number)
                inode = self._write_checked(stream, entry, parent, name)
                replaces = outcome is not Outcome.INSTALLED
                file = StagedFile(archive_id, entry.path, depth, replaces, inode, load, number)
                self._record_staged(file, parent)
                self.needs_preparation |= replaces or not file.has_its_folder
        return outcome

    def close(self) -> None:
        """Close the journal, whose file stays, and all folders."""
        self.journal.close()
        self.durability.close()
        self._nearest.close()

    def _write_checked(
        self, stream: ReadableStream, entry: ListedMedia, parent: int, name: str
    ) -> int:
        """Write the file under a temporary name; return its inode."""
        fd = create_file(name, 0o644, parent)
        try:
            _copy_checked(stream, entry, fd)
            os.utime(fd, ns=(modified_ns(entry), modified_ns(entry)))
            self.durability.add_file(fd, parent)
            return os.fstat(fd).st_ino
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
            raise
        finally:
            os.close(fd)

    def _record_staged(self, file: StagedFile, parent: int) -> None:
        try:
            self.journal.add(file)
        except BaseException:
            os.unlink(file.staged_name, dir_fd=parent)
            raise
        self._count += 1


@contextmanager
def explained(
    folder: Path, path: str | None = None, *, action: str = "written to"
) -> Iterator[None]:
    """Turn an error of the operating system into one that names the folder and the file.

    Args:
        folder: The media folder.
        path: Path of the file; None: all files.
        action: What cannot be done with the file, before the name of the folder.

    Raises:
        MediaSpaceError: The disk is full.
        OSError: The disk fails, which is no fault of the file; it names the folder.
        MediaFolderError: Any other error of the operating system.
    """
    try:
        yield
    except OSError as error:
        if error.errno in BROKEN:
            raise OSError(error.errno, error.strerror, str(folder)) from error
        what = "media files" if path is None else f"media file {quoted(path)}"
        problem = f"{what} cannot be {action} {folder} ({error.strerror})"
        if error.errno in NO_SPACE:
            remedy = "free space on that disk, the load is tried again"
            raise MediaSpaceError(problem, remedy=remedy) from error
        remedy = _REMEDIES.get(error.errno, "check the folder and this account's permissions in it")
        raise MediaFolderError(problem, remedy=remedy) from error


def _outcome(parent: int, depth: int, entry: ListedMedia) -> Outcome:
    """Return what installing the file will do; UNCHANGED if there is nothing to do."""
    *folders, name = entry.path.split("/")
    existing = status_of(parent, folders[depth] if depth < len(folders) else name)
    if existing is None:
        return Outcome.INSTALLED
    if depth < len(folders) or stat.S_ISDIR(existing.st_mode):
        return Outcome.DISPLACED
    equal = stat.S_ISREG(existing.st_mode) and existing.st_size == entry.size_bytes
    if equal:
        with os.fdopen(open_file(parent, name), "rb") as file:
            if has_content(file, entry):
                return Outcome.UNCHANGED
    return Outcome.REPLACED


def has_content(file: io.BufferedReader, entry: ListedMedia) -> bool:
    """Return whether a file has the content of an entry.

    If a damaged disk cannot return it, it has not: the file is replaced like a changed one.
    """
    try:
        return digest_of(file) == entry.sha256
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return False


def _copy_checked(stream: ReadableStream, entry: ListedMedia, fd: int) -> None:
    digest = hashlib.sha256()
    size_bytes = 0
    # One byte more than declared shows a longer stream; a buffer of that size is allocated.
    while block := stream.read(min(_READ_BYTES, entry.size_bytes - size_bytes + 1)):
        size_bytes += len(block)
        if size_bytes > entry.size_bytes:
            break
        digest.update(block)
        view = memoryview(block)
        while view:
            view = view[os.write(fd, view) :]
    if size_bytes != entry.size_bytes or digest.hexdigest() != entry.sha256:
        raise MediaContentError(
            f"media file {quoted(entry.path)} differs from the manifest"
            f" ({size_bytes} of {entry.size_bytes} bytes, or another sha256)",
            remedy="have the archive sent again; the installed file is unchanged",
        )


def modified_ns(entry: ListedMedia) -> int:
    """Return the modification time that an installed file has, in nanoseconds."""
    return entry.modified_us * 1000


def _check_space(parent: int, entry: ListedMedia, folder: Path) -> None:
    space = free_space(parent)
    if space.is_too_small_for(entry.size_bytes):
        raise MediaSpaceError(
            f"media file {quoted(entry.path)} needs {entry.size_bytes} bytes, and {folder} has"
            f" {space.free_bytes} left",
            remedy="free space on that disk, the load is tried again",
        )
