"""A source's bytes in pieces, taken in order by one connection or by several side by side.

No piece ends further than `LEAD_BYTES` behind the oldest unconfirmed byte: whatever breaks off,
all before that distance from the end of the part is there, which is what its resumption relies
on. Whoever takes a piece reads it: a thread that reads ahead costs more than it saves.
"""

from __future__ import annotations

import threading
from enum import Enum
from typing import TYPE_CHECKING, BinaryIO, Final

from ar_sync_pipeline.sftp.errors import SourceChangedError, SourceUnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE_BYTES = 2**19
LEAD_BYTES = 32 * 2**20

Segment = tuple[int, bytes]


class Moment(Enum):
    """What `Segments.take` says when it gives no piece."""

    NOT_YET = "not yet"
    END = "end"


NOT_YET: Final = Moment.NOT_YET
END: Final = Moment.END


class Segments:
    """The pieces from ``start`` to ``end`` of a file.

    Args:
        file: positioned at ``start``.
        block_bytes: pieces are multiples of it, some hundred KB that fit into a processor's cache.
        name: of what is sent, for messages.
        progress: called with the end of all that is confirmed, counted without gaps.

    Attributes:
        source_failed: reading the source raised; sending it again would be no use.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: int,
        end: int,
        *,
        block_bytes: int,
        name: str,
        progress: Callable[[int], None],
    ) -> None:
        self._file = file
        self._segment_bytes = max(_PIECE_BYTES // block_bytes, 1) * block_bytes
        self._position, self._end = start, end
        self._name = name
        self._progress = progress
        self._changed = threading.Condition()
        self._under_way: set[int] = set()
        self._confirmed_up_to = start
        self._failure: BaseException | None = None
        self.source_failed = False

    def take(self, *, wait: bool) -> Segment | Moment:
        """Return the next piece as (offset, bytes); ``END`` if all are taken.

        Args:
            wait: for a piece that may be taken; else ``NOT_YET`` is the answer.

        Raises:
            BaseException: what `fail` was told, or what reading the source raised.
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
        """Tell that so many bytes arrived, and the offset of the piece that they finished."""
        with self._changed:
            self._confirmed_up_to += size_bytes
            if finished is not None:
                self._under_way.discard(finished)
                self._changed.notify_all()
            self._progress(self._confirmed_up_to)

    def fail(self, error: BaseException) -> None:
        """Make every later `take` raise; the first failure counts."""
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
