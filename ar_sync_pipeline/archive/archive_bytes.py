"""Bytes of an archive file in order; a disk error and an early end become archive errors."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Protocol

from ar_sync_pipeline.archive.errors import CorruptArchiveError, UnreadableArchiveError
from ar_sync_pipeline.archive.microseconds import nearest_instant
from ar_sync_pipeline.progress import report_progress


class MemberSource(Protocol):
    """What a member is read from."""

    path: Path

    def read(self, size: int, member: str | None) -> bytes:
        """Read exactly ``size`` bytes."""

    def readinto(self, view: memoryview, member: str) -> int:
        """Read at least one byte, and at most the length of the view."""


class ArchiveBytes:
    """Bytes of the whole file."""

    def __init__(self, path: Path, file: io.BufferedReader) -> None:
        self.path = path
        self._file = file
        facts = os.fstat(file.fileno())
        self.size_bytes = facts.st_size
        self.written_at = nearest_instant(facts.st_mtime_ns // 1000)
        # The position of a buffered file is a system call away.
        self._position = file.tell()

    def read(self, size: int, member: str | None) -> bytes:
        """Read exactly ``size`` bytes."""
        # A size from a hostile header is compared with the file before memory is allocated.
        if size > self.size_bytes - self._position:
            raise self._truncated(member)
        try:
            content = self._file.read(size)
        except OSError as error:
            raise UnreadableArchiveError(self.path, error) from error
        report_progress()
        self._position += len(content)
        if len(content) != size:
            raise self._truncated(member)
        return content

    def readinto(self, view: memoryview, member: str) -> int:
        """Read at least one byte, and at most the length of the view."""
        try:
            count = self._file.readinto(view)
        except OSError as error:
            raise UnreadableArchiveError(self.path, error) from error
        if count == 0:
            raise self._truncated(member)
        report_progress()
        self._position += count
        return count

    def at(self, offset: int) -> _BytesAt:
        """Return the bytes from an offset on; they do not move the position of these."""
        return _BytesAt(self.path, self._file.fileno(), offset)

    def _truncated(self, member: str | None) -> CorruptArchiveError:
        return _truncated(self.path, member, self._position)


class _BytesAt:
    """Bytes of the file from an offset on, while another reader is elsewhere in it."""

    def __init__(self, path: Path, fd: int, offset: int) -> None:
        self.path = path
        self._fd = fd
        self._offset = offset

    def read(self, size: int, member: str | None) -> bytes:
        content = bytearray(size)
        view = memoryview(content)
        while view:
            view = view[self.readinto(view, member) :]
        return bytes(content)

    def readinto(self, view: memoryview, member: str | None) -> int:
        try:
            count = os.preadv(self._fd, [view], self._offset)
        except OSError as error:
            raise UnreadableArchiveError(self.path, error) from error
        if count == 0:
            raise _truncated(self.path, member, self._offset)
        report_progress()
        self._offset += count
        return count


def _truncated(path: Path, member: str | None, offset: int) -> CorruptArchiveError:
    return CorruptArchiveError(
        "the file ends too early", archive=path.name, member=member, offset=offset
    )
