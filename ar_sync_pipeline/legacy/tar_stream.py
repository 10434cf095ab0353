"""Streams an untrusted ``tar.gz``: only regular files, limited sizes and ratios, no extraction.

Only headers that GNU tar made for the old system are accepted: plain headers and long names.
Anything else (links, devices, sparse files, other headers) is an error. `tarfile` would allocate
gigabytes for a hostile header, so it is used only to parse single blocks.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from ar_sync_pipeline.archive.chunk_member import ReadableStream
from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.archive.microseconds import nearest_instant
from ar_sync_pipeline.progress import report_progress

if TYPE_CHECKING:
    # Of the standard library from Python 3.12; not a dependency of this package.
    from typing_extensions import Buffer

_BLOCK = 512
_READ_BYTES = 256 * 1024
_LONGEST_NAME = 512  # a file name has at most 255 bytes
_GZIP = 16 + zlib.MAX_WBITS
# A tar of one small file is mostly zeros, which compress beyond any ratio.
FREE_BYTES = 16 * 1024**2
"""Bytes of content that any archive may have."""


class OldFormatError(Exception):
    """An old archive is wrong; becomes a `CorruptArchiveError` where the archive's name is known.

    Args:
        fault: What is wrong, as a clause without a full stop.
        member: Name of the member that has the fault, if any.
    """

    def __init__(self, fault: str, member: str | None = None) -> None:
        super().__init__(fault)
        self.fault = fault
        self.member = member


class OldArchiveTruncatedError(OldFormatError):
    """The archive itself ends too early: it is truncated, or still being uploaded."""


@dataclass(frozen=True)
class TarEntry:
    """A regular file in a tar.

    Attributes:
        name: Name of the file; undecodable bytes are lone surrogates.
        size_bytes: Size of the file in bytes.
        modified_at: Mtime in the header, aware UTC; the nearest one that an archive can contain.
        stream: Content of the file; read it before the next entry is requested.
    """

    name: str
    size_bytes: int
    modified_at: datetime
    stream: io.BufferedReader


def gunzip(source: ReadableStream, member: str | None, ratio: int) -> io.BufferedReader:
    """Return the content of one gzip stream that is all of ``source``.

    Args:
        source: Source of the compressed bytes.
        member: Name of the source, for messages.
        ratio: Allowed bytes of content per stored byte; the first bytes are free.
    """
    return io.BufferedReader(_Gunzip(source, member, ratio), buffer_size=_READ_BYTES)


def tar_entries(stream: io.BufferedReader, member: str | None) -> Iterator[TarEntry]:
    """Yield the files of a tar, in order, until its end has been read.

    Args:
        stream: Stream of the tar.
        member: Name of the tar, for messages.

    Raises:
        OldFormatError: The tar is truncated, or contains anything but regular files.
    """
    long_name: str | None = None
    while True:
        block = _exactly(stream, _BLOCK, member)
        if not block.strip(b"\0"):
            _expect_zeros(stream, member)
            return
        info = _header(block, member)
        if info.type == tarfile.GNUTYPE_LONGNAME:
            long_name = _long_name(stream, info.size, member)
            continue
        name = long_name or info.name
        long_name = None
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise OldFormatError(f"{printable(name)} in it is not a regular file", member)
        content = _Content(stream, info.size, member)
        reader = io.BufferedReader(content, buffer_size=_READ_BYTES)
        modified_at = nearest_instant(int(info.mtime) * 1_000_000)
        yield TarEntry(name, info.size, modified_at, cast("io.BufferedReader", reader))
        content.skip_rest()
        _exactly(stream, -info.size % _BLOCK, member)


class _Gunzip(io.RawIOBase):
    def __init__(self, source: ReadableStream, member: str | None, ratio: int) -> None:
        self._source = source
        self._member = member
        self._ratio = ratio
        self._inflate = zlib.decompressobj(_GZIP)
        self._stored = self._produced = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while not self._inflate.eof:
            data = self._inflate.unconsumed_tail or self._next_segment()
            try:
                block = self._inflate.decompress(data, len(view))
            except zlib.error as error:
                raise OldFormatError(
                    f"its gzip stream is damaged ({error})", self._member
                ) from error
            if block:
                self._count(len(block))
                view[: len(block)] = block
                return len(block)
        if self._inflate.unused_data or self._source.read(1):
            raise OldFormatError("has bytes after its gzip stream", self._member)
        return 0

    def _next_segment(self) -> bytes:
        data = self._source.read(_READ_BYTES)
        if not data:
            problem = OldFormatError if self._member else OldArchiveTruncatedError
            raise problem("is truncated: it ends inside its gzip stream", self._member)
        report_progress()
        self._stored += len(data)
        return data

    def _count(self, produced: int) -> None:
        self._produced += produced
        if self._produced > FREE_BYTES + self._ratio * self._stored:
            raise OldFormatError(f"unpacks to more than {self._ratio} times its size", self._member)


class _Content(io.RawIOBase):
    """Content of one entry; ends before the next header."""

    def __init__(self, stream: io.BufferedReader, size_bytes: int, member: str | None) -> None:
        self._stream = stream
        self._left = size_bytes
        self._member = member

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")[: self._left]
        count = self._stream.readinto(view)
        if count < len(view) and not count:
            raise OldFormatError("is truncated: it ends inside a file", self._member)
        self._left -= count
        return count

    def skip_rest(self) -> None:
        scratch = bytearray(min(_READ_BYTES, self._left))
        while self._left:
            self.readinto(scratch)


def _header(block: bytes, member: str | None) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise OldFormatError("is not a tar, or a header in it is damaged", member) from error
    if info.size < 0:
        raise OldFormatError("a file in it has a negative size", member)
    return info


def _long_name(stream: io.BufferedReader, size_bytes: int, member: str | None) -> str:
    if size_bytes > _LONGEST_NAME:
        raise OldFormatError(f"a name in it is longer than {_LONGEST_NAME} bytes", member)
    content = _exactly(stream, size_bytes + -size_bytes % _BLOCK, member)
    return content[:size_bytes].rstrip(b"\0").decode("utf-8", "surrogateescape")


def _exactly(stream: io.BufferedReader, size_bytes: int, member: str | None) -> bytes:
    content = stream.read(size_bytes)
    if len(content) != size_bytes:
        raise OldFormatError("is truncated: its tar has no end", member)
    return content


def _expect_zeros(stream: io.BufferedReader, member: str | None) -> None:
    while block := stream.read(_READ_BYTES):
        if block.strip(b"\0"):
            raise OldFormatError("has files after its end", member)
