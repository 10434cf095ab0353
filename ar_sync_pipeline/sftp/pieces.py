"""A source's bytes in pieces: read ahead by a thread, taken by one connection or several.

Reading (which hashes every member) and sending (which encrypts) each keep a core busy, so they
run side by side. With several connections the pieces are handed out in order, and nobody gets
further ahead of the oldest unconfirmed byte than `LEAD_BYTES`: whatever breaks off, all before
that distance from the end of the part is there, which is what its resumption relies on.
"""

from __future__ import annotations

import threading
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from ar_sync_pipeline.sftp.errors import SourceChangedError, SourceUnreadableError
from ar_sync_pipeline.sftp.protocol import WRITE_BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PIECE_BYTES = 16 * WRITE_BLOCK_BYTES
LEAD_BYTES = 32 * 2**20
_READ_AHEAD_PIECES = 8

Piece = tuple[int, bytes]


class Moment(Enum):
    """What `Pieces.take` says when it gives no piece."""

    NOT_YET = "not yet"
    END = "end"


NOT_YET: Final = Moment.NOT_YET
END: Final = Moment.END


class Pieces:
    """The pieces from ``start`` to ``end`` of a file; a context manager that runs the reader.

    Args:
        file: positioned at ``start``; read by one thread only.
        name: of what is sent, for messages.
        progress: called with the end of all that is confirmed, counted without gaps.

    Attributes:
        source_failed: reading the source raised; sending it again would be no use.
    """

    def __init__(
        self, file: BinaryIO, start: int, end: int, *, name: str, progress: Callable[[int], None]
    ) -> None:
        self._file = file
        self._start, self._end = start, end
        self._name = name
        self._progress = progress
        self._changed = threading.Condition()
        self._ready: deque[Piece] = deque()
        self._read_up_to = start
        self._under_way: set[int] = set()
        self._confirmed_bytes = 0
        self._failure: BaseException | None = None
        self.source_failed = False
        self._thread = threading.Thread(target=self._read_ahead, name="sftp-read", daemon=True)

    def __enter__(self) -> Self:
        """Start reading."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Stop reading; whoever still takes pieces is told so."""
        if error is not None:
            self.fail(error)
        with self._changed:
            self._ready.clear()
            self._read_up_to = self._end
            self._changed.notify_all()
        self._thread.join()

    def take(self, *, wait: bool) -> Piece | Moment:
        """The next piece as (offset, bytes); ``END`` if all are taken.

        Args:
            wait: for a piece that may be taken; else ``NOT_YET`` is the answer.

        Raises:
            BaseException: what `fail` was told, or what reading the source raised.
        """
        with self._changed:
            while True:
                if self._failure is not None:
                    raise self._failure
                if self._ready:
                    offset = self._ready[0][0]
                    if offset - min(self._under_way, default=offset) < LEAD_BYTES:
                        self._under_way.add(offset)
                        self._changed.notify_all()
                        return self._ready.popleft()
                elif self._read_up_to >= self._end:
                    return END
                if not wait:
                    return NOT_YET
                self._changed.wait()

    def confirm(self, size_bytes: int, *, finished: int | None) -> None:
        """Tell that so many bytes arrived, and the offset of the piece that they finished."""
        with self._changed:
            self._confirmed_bytes += size_bytes
            if finished is not None:
                self._under_way.discard(finished)
                self._changed.notify_all()
            self._progress(self._start + self._confirmed_bytes)

    def fail(self, error: BaseException) -> None:
        """Make every later `take` raise; the first failure counts."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def _read_ahead(self) -> None:
        position = self._start
        try:
            while position < self._end:
                data = self._file.read(min(PIECE_BYTES, self._end - position))
                if not data:
                    raise _too_short(self._name)
                position += len(data)
                if not self._offer((position - len(data), data)):
                    return
        except OSError as error:
            self.source_failed = True
            self.fail(_unreadable(self._name, error))
        except BaseException as error:  # noqa: BLE001  raised where the pieces are taken
            self.source_failed = True
            self.fail(error)

    def _offer(self, piece: Piece) -> bool:
        """Put a piece where it can be taken; False if nobody wants any more."""
        with self._changed:
            while len(self._ready) >= _READ_AHEAD_PIECES and self._failure is None:
                self._changed.wait()
            if self._failure is not None or self._read_up_to >= self._end:
                return False
            self._ready.append(piece)
            self._read_up_to = piece[0] + len(piece[1])
            self._changed.notify_all()
            return True


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
