"""Chunks of a table as members: binary COPY, compressed with zstd while it is written and read.

A reader rejects a member that grows a thousandfold, as a decompression bomb does. Repeated rows
compress even better, so the zstd frame of such a chunk is followed by one skippable frame of zeros
(RFC 8878, section 3.1.2), which every zstd decoder skips.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Protocol, Self

from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.manifest import Chunk, KeyRange
from ar_sync_pipeline.archive.manifest_reader import ReadLimits
from ar_sync_pipeline.archive.member_names import table_member_path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from collections.abc import Iterator
from pathlib import Path

# Level 1 is faster than the disk and the network; higher levels save little on COPY data.
_LEVEL = 1
# Compressing single rows would cost one compressor call per row.
_BATCH_BYTES = 256 * 1024
_READ_BYTES = 256 * 1024
# Level 1 looks back 512 KiB; this product never writes a frame that needs more than 8 MiB.
_WINDOW_LOG_MAX = 23
_SKIPPABLE = (0x184D2A50).to_bytes(4, "little")
_SKIPPABLE_HEADER_BYTES = 8
# Half of what a reader accepts, so that a reader of another version also accepts it.
_RATIO = ReadLimits().compression_ratio // 2
_FREE_RAW_BYTES = ReadLimits().free_raw_bytes // 2


class ReadableStream(Protocol):
    """A source of bytes."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Return up to ``size`` bytes; empty at the end."""


class CompressedMember(Protocol):
    """A member that is one zstd frame."""

    @property
    def member(self) -> str:
        """Name of the member."""

    @property
    def raw_bytes(self) -> int:
        """Size of the decompressed content in bytes."""


class ChunkWriter:
    """Writes the bytes of one COPY to a file that becomes one member of an archive.

    As a context manager it removes the file unless `finish` was called::

        with ChunkWriter(folder, "AndroidRequests_bus", 0) as writer:
            rows = copy_out(connection, query, writer)
            chunk = writer.finish(row_count=rows, digest=digest, key_range=None)

    Args:
        folder: Folder of the compressed file; it must not contain this chunk yet.
        table: Name of the table.
        part: Number of the chunk, from 0, or the list of keys that the member holds.
    """

    def __init__(self, folder: Path, table: str, part: int | str) -> None:
        self.member = table_member_path(table, part)
        self.path = folder / self.member.rpartition("/")[2]
        self.raw_bytes = 0
        self.size_bytes = 0
        self._sha256 = hashlib.sha256()
        self._compressor = zstd.ZstdCompressor(level=_LEVEL)
        self._batch = bytearray()
        self._file = self.path.open("xb")
        self._finished = False

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write the next bytes of the COPY stream; return how many were written: all."""
        self._batch += data
        if len(self._batch) >= _BATCH_BYTES:
            self._compress_batch()
        return len(data)

    def finish(self, *, row_count: int, digest: str, key_range: KeyRange | None) -> Chunk:
        """Complete the file on disk and describe it.

        Args:
            row_count: Number of rows written.
            digest: Content digest of these rows, as decimal text.
            key_range: Keys that the chunk covers; None: the whole table.

        Returns:
            The entry of this member in the manifest.
        """
        self._compress_batch()
        self._store(self._compressor.flush())
        self._pad()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        chunk = Chunk(
            member=self.member,
            key_range=key_range,
            row_count=row_count,
            size_bytes=self.size_bytes,
            raw_bytes=self.raw_bytes,
            sha256=self._sha256.hexdigest(),
            digest=digest,
        )
        self._finished = True
        return chunk

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove an unfinished file."""
        if not self._finished:
            self._file.close()
            self.path.unlink(missing_ok=True)

    def _compress_batch(self) -> None:
        self.raw_bytes += len(self._batch)
        self._store(self._compressor.compress(self._batch))
        self._batch = bytearray()

    def _pad(self) -> None:
        """Extend the member until its compression ratio is acceptable to a reader."""
        missing = -(-(self.raw_bytes - _FREE_RAW_BYTES) // _RATIO) - self.size_bytes
        if missing <= 0:
            return
        zeros = max(0, missing - _SKIPPABLE_HEADER_BYTES)
        self._store(_SKIPPABLE + zeros.to_bytes(4, "little"))
        while zeros:
            self._store(bytes(min(zeros, _READ_BYTES)))
            zeros -= min(zeros, _READ_BYTES)

    def _store(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self.size_bytes += len(data)


def decompress_chunk(stream: ReadableStream, chunk: CompressedMember) -> Iterator[bytes]:
    """Yield the decompressed bytes of a member, never more than the manifest declares.

    The stream is read to its end, so a stream that checks its content at the end has done so when
    this iterator is exhausted. Memory is bounded by a block and a zstd window.

    Raises:
        CorruptArchiveError: The member is not one zstd frame of exactly ``chunk.raw_bytes`` bytes,
            with at most one skippable frame of zeros after it. No byte beyond ``chunk.raw_bytes``
            is yielded.
    """
    decompressor = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX}
    )
    produced = 0
    while not decompressor.eof:
        data = b""
        if decompressor.needs_input:
            data = stream.read(_READ_BYTES) or b""
            if not data:
                raise CorruptArchiveError("ends inside its zstd frame", member=chunk.member)
        try:
            block = decompressor.decompress(data, min(_READ_BYTES, chunk.raw_bytes - produced + 1))
        except zstd.ZstdError as error:
            raise CorruptArchiveError(
                f"cannot be decompressed ({error})", member=chunk.member
            ) from error
        produced += len(block)
        if produced > chunk.raw_bytes:
            raise CorruptArchiveError(
                f"holds more than the {chunk.raw_bytes} bytes it declares", member=chunk.member
            )
        if block:
            yield block
    if not _is_padding(decompressor.unused_data, stream):
        raise CorruptArchiveError("has bytes after its zstd frame", member=chunk.member)
    if produced != chunk.raw_bytes:
        raise CorruptArchiveError(
            f"holds {produced} bytes where it declares {chunk.raw_bytes}", member=chunk.member
        )


def _is_padding(rest: bytes, stream: ReadableStream) -> bool:
    """Return whether a frame is followed by nothing, or by one skippable frame of zeros."""
    while len(rest) < _SKIPPABLE_HEADER_BYTES and (data := stream.read(_READ_BYTES)):
        rest += data
    if not rest:
        return True
    header, rest = rest[:_SKIPPABLE_HEADER_BYTES], rest[_SKIPPABLE_HEADER_BYTES:]
    if len(header) < _SKIPPABLE_HEADER_BYTES or header[:4] != _SKIPPABLE:
        return False
    left = int.from_bytes(header[4:], "little")
    while rest and not rest.strip(b"\0") and len(rest) <= left:
        left -= len(rest)
        rest = stream.read(_READ_BYTES) or b""
    return not rest and left == 0
