"""Segments of a source, taken in order by one connection or by several in parallel.

No segment ends more than `LEAD_BYTES` after the oldest unconfirmed byte. So if an upload is
interrupted, everything up to `LEAD_BYTES` before the end of the part has arrived, and the upload
can be resumed there. The connection that takes a segment reads it: a thread that reads ahead costs
more than it saves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from typing import BinaryIO, Final

from ar_sync_pipeline.sftp.errors import SourceChangedError, SourceUnreadableError

_BLOCK_BYTES = 2**19
LEAD_BYTES = 32 * 2**20

Segment = tuple[int, bytes]


class Signal(Enum):
    """Result of `Segments.take` without a segment."""

    NOT_YET = "not yet"
    END = "end"


NOT_YET: Final = Signal.NOT_YET
END: Final = Signal.END


class Segments:
    """Segments from ``start`` to ``end`` of a file.

    Args:
        file: Open file, positioned at ``start``.
        start: Offset of the first byte to send.
        end: Offset after the last byte to send.
        block_bytes: Block size; segments are multiples of it, some hundred KB that fit into a CPU
            cache.
        name: Name of the archive, for messages.
        progress: Function that gets the start plus the number of confirmed bytes, and the offset up
            to which all bytes are confirmed.

    Attributes:
        source_failed: Whether reading the source failed, so that a retry is useless.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: int,
        end: int,
        *,
        block_bytes: int,
        name: str,
        progress: Callable[[int, int], None],
    ) -> None:
        self._file = file
        self._segment_bytes = max(_BLOCK_BYTES // block_bytes, 1) * block_bytes
        self._position, self._end = start, end
        self._name = name
        self._progress = progress
        self._changed = threading.Condition()
        self._under_way: set[int] = set()
        self._confirmed = start
        self._failure: BaseException | None = None
        self.source_failed = False

    def take(self, *, wait: bool) -> Segment | Signal:
        """Return the next segment as (offset, bytes); ``END`` if all are taken.

        Args:
            wait: Whether to wait for a segment; else ``NOT_YET`` is returned.

        Raises:
            BaseException: The error that `fail` got, or that reading the source raised.
        """
        with self._changed:
            while True:
                if self._failure is not None:
                    raise self._failure
                offset = self._position
                if offset >= self._end:
                    return END
                size_bytes = min(self._segment_bytes, self._end - offset)
                if offset + size_bytes - min(self._under_way, default=offset) <= LEAD_BYTES:
                    data = self._read(size_bytes)
                    self._under_way.add(offset)
                    self._position += len(data)
                    return offset, data
                if not wait:
                    return NOT_YET
                self._changed.wait()

    def confirm(self, size_bytes: int, *, finished: int | None) -> None:
        """Record confirmed bytes, and the offset of the segment that they finished."""
        with self._changed:
            self._confirmed += size_bytes
            if finished is not None:
                self._under_way.discard(finished)
                self._changed.notify_all()
            self._progress(self._confirmed, min(self._under_way, default=self._position))

    def fail(self, error: BaseException) -> None:
        """Make every later `take` raise the first error."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def _read(self, size_bytes: int) -> bytes:
        self.source_failed = True
        try:
            data = self._file.read(size_bytes)
        except OSError as error:
            raise _unreadable(self._name, error) from error
        if not data:
            raise _too_short(self._name)
        self.source_failed = False
        return data


def _too_short(name: str) -> SourceChangedError:
    return SourceChangedError(
        f"the file for {name} became shorter while it was being sent",
        remedy="build the archive again",
    )


def _unreadable(name: str, error: OSError) -> SourceUnreadableError:
    return SourceUnreadableError(
        f"the file for {name} cannot be read here any more ({error.strerror or error})",
        remedy="check this machine's disk and its permissions; the archive is sent by a later run",
    )
