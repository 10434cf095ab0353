"""Content of one member of an archive, compared with its sha256 while it streams."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from ar_sync_pipeline.archive.archive_bytes import MemberSource
from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.manifest_media import ListedMedia
from ar_sync_pipeline.archive.tar_layout import Slot, padding_bytes

if TYPE_CHECKING:
    # Of the standard library from Python 3.12; not a dependency of this package.
    from typing_extensions import Buffer

_READ_BYTES = 1024 * 1024


class MemberStream(io.RawIOBase):
    """Content of one member, compared with its sha256 when the last byte is read.

    Attributes:
        name: Name of the member.
        size_bytes: Size of the content in bytes.
        entry: Entry of the media file; None: the member is not a media file.
    """

    def __init__(self, slot: Slot, source: MemberSource, entry: ListedMedia | None = None) -> None:
        self.name = slot.name
        self.size_bytes = slot.size_bytes
        self.entry = entry
        self._slot = slot
        self._source = source
        self._digest = hashlib.sha256()
        self._remaining_bytes = slot.size_bytes
        if slot.size_bytes == 0:
            self._check_content()

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Read bytes of the member into the buffer; return 0 at the end.

        Raises:
            CorruptArchiveError: The last byte was read and the sha256 differs.
        """
        if self.closed:
            raise ValueError("a member's stream ends when the next member is requested")
        view = memoryview(buffer).cast("B")[: self._remaining_bytes]
        if not view:
            return 0
        count = self._source.readinto(view, self.name)
        self._digest.update(view[:count])
        self._remaining_bytes -= count
        if self._remaining_bytes == 0:
            self._check_content()
        return count

    def finish(self) -> None:
        """Read and check the rest and the padding, and end the stream."""
        scratch = bytearray(min(_READ_BYTES, self._remaining_bytes))
        while self._remaining_bytes:
            self.readinto(scratch)
        if any(self._source.read(padding_bytes(self.size_bytes), self.name)):
            raise other_padding(self._source.path, self._slot)
        self.close()

    def _check_content(self) -> None:
        if self._digest.hexdigest() != self._slot.sha256:
            raise other_content(self._source.path, self._slot)


def other_content(path: Path, slot: Slot) -> CorruptArchiveError:
    """Return the error of a member with another sha256."""
    return CorruptArchiveError(
        "its sha256 differs from the declared one",
        archive=path.name,
        member=slot.name,
        offset=slot.data_at,
    )


def other_padding(path: Path, slot: Slot) -> CorruptArchiveError:
    """Return the error of a member whose padding is not zeros."""
    return CorruptArchiveError(
        "its padding is not zeros", archive=path.name, member=slot.name, offset=slot.data_end
    )
