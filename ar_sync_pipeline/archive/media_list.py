"""The member that lists media files, in an archive with too many of them for its manifest.

One line for each file, sorted by path, compressed with zstd: path, size in bytes, sha256, mtime in
microseconds since 1970, and ``+`` or ``-`` for a file that the archive carries or not, separated by
tabs, which no path contains. Files that the archive carries follow after the other members, in the
same order. Writer and reader go through the list line by line, so memory is independent of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from dataclasses import dataclass

from ar_sync_pipeline.archive.chunk_member import ReadableStream, decompress_chunk
from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.manifest_media import MEDIA_LIST_MEMBER, ListedFile, MediaList
from ar_sync_pipeline.archive.member_names import PathOrder
from ar_sync_pipeline.archive.microseconds import EARLIEST, LATEST
from ar_sync_pipeline.archive.tar_layout import member_bytes

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["ListedFile", "read_media_list", "write_media_list"]

_LEVEL = 1
_BATCH_BYTES = 256 * 1024
# The limits of an entry in a manifest.
_MOST_BYTES = 2**50
# 1,024 characters of four bytes, and the other fields.
_LONGEST_LINE = 4_300
# Only one spelling of each value, so that equal lists have equal bytes.
_LINE = re.compile(
    r"([^\t\n\0]{1,1024})\t(0|[1-9][0-9]{0,15})\t([0-9a-f]{64})\t(0|-?[1-9][0-9]{0,17})\t([+-])"
)


@dataclass
class _Totals:
    """Figures of the manifest over the lines so far."""

    file_count: int = 0
    file_bytes: int = 0
    carried_count: int = 0
    carried_bytes: int = 0
    archive_bytes: int = 0

    def add(self, file: ListedFile) -> None:
        self.file_count += 1
        self.file_bytes += file.size_bytes
        if file.carried:
            self.carried_count += 1
            self.carried_bytes += file.size_bytes
            self.archive_bytes += member_bytes(f"media/{file.path}", file.size_bytes)


def write_media_list(path: Path, files: Iterable[ListedFile]) -> MediaList:
    """Write the list to a file that becomes a member; return its entry in the manifest.

    Args:
        path: Path of the file, which is replaced.
        files: Media files, sorted by path.

    Raises:
        ValueError: A path is not safe, or not in its place.
    """
    totals, order = _Totals(), PathOrder()
    compressor, digest, batch = zstd.ZstdCompressor(level=_LEVEL), hashlib.sha256(), bytearray()
    raw_bytes = size_bytes = 0
    with path.open("wb") as file:
        for listed in files:
            problem = order.problem(listed.path)
            if problem is not None:
                raise ValueError(problem)
            totals.add(listed)
            batch += _line(listed)
            if len(batch) >= _BATCH_BYTES:
                raw_bytes += len(batch)
                packed = compressor.compress(bytes(batch))
                size_bytes += file.write(packed)
                digest.update(packed)
                batch.clear()
        raw_bytes += len(batch)
        packed = compressor.compress(bytes(batch)) + compressor.flush()
        size_bytes += file.write(packed)
        digest.update(packed)
        file.flush()
        os.fsync(file.fileno())
    return MediaList(
        size_bytes=size_bytes, raw_bytes=raw_bytes, sha256=digest.hexdigest(), **vars(totals)
    )


def read_media_list(
    stream: ReadableStream, listed: MediaList, *, archive: str
) -> Iterator[ListedFile]:
    """Yield the files of a list that may be hostile; check the whole list at its end.

    Each path is safe, and comes after the one before it. A caller that changes anything because of
    a file can undo it: only the end of the iteration shows that the list is that of the manifest.

    Args:
        stream: Stream of the stored member, which compares its sha256 at its end.
        listed: Entry of the list in the manifest.
        archive: File name of the archive, for messages.

    Raises:
        CorruptArchiveError: The list is not in its form, or differs from the manifest.
    """
    totals, order = _Totals(), PathOrder()
    for line in _lines(decompress_chunk(stream, listed), archive):
        entry = _parsed(line)
        if entry is None:
            raise _corrupt(f"its line {totals.file_count + 1} is not that of a file", archive)
        problem = order.problem(entry.path)
        if problem is not None:
            raise _corrupt(problem, archive)
        totals.add(entry)
        yield entry
    for name, found in vars(totals).items():
        if found != getattr(listed, name):
            declared = f"{getattr(listed, name)} in the manifest"
            raise _corrupt(f"its {name} is {found}, and {declared}", archive)


def _line(file: ListedFile) -> bytes:
    sign = "+" if file.carried else "-"
    fields = f"{file.path}\t{file.size_bytes}\t{file.sha256}\t{file.modified_us}\t{sign}\n"
    return fields.encode()


def _lines(blocks: Iterable[bytes], archive: str) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise _corrupt(f"a line is longer than {_LONGEST_LINE} bytes", archive)
        yield from lines
    if rest:
        raise _corrupt("its last line has no end", archive)


def _parsed(line: bytes) -> ListedFile | None:
    try:
        fields = _LINE.fullmatch(line.decode())
    except UnicodeDecodeError:
        return None
    if fields is None:
        return None
    path, size, sha256, modified, sign = fields.groups()
    size_bytes, modified_us = int(size), int(modified)
    if size_bytes > _MOST_BYTES or not EARLIEST <= modified_us <= LATEST:
        return None
    return ListedFile(path, size_bytes, sha256, modified_us, sign == "+")


def _corrupt(fault: str, archive: str) -> CorruptArchiveError:
    return CorruptArchiveError(fault, archive=archive, member=MEDIA_LIST_MEMBER)
