"""Send a file's bytes: resume where a cut upload stopped, and check every single write."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sftp import protocol
from ar_sync_pipeline.sftp.errors import DamagedUploadError
from ar_sync_pipeline.sftp.rate_limit import RateLimit
from ar_sync_pipeline.sftp.segments import END, LEAD_BYTES, NOT_YET, Segments

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import PurePosixPath

    from ar_sync_pipeline.sftp.session import SftpSession

_TAIL_BYTES = 2**20


class Publishable(Protocol):
    """What can be published: a file of known size that can be opened more than once."""

    @property
    def size_bytes(self) -> int:
        """How long it is."""

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digits that another content would not have; cheap to ask for."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole, 64 hexadecimal digits; may read all of it when first asked for."""

    def open(self) -> BinaryIO:
        """Return the bytes, seekable; closed by whoever opened them.

        Reading must raise rather than deliver other bytes than the fingerprint stands for.
        """


@dataclass(frozen=True)
class Upload:
    """What one upload did: bytes sent now, bytes from an earlier one, connections that sent."""

    sent_bytes: int
    resumed_bytes: int
    connections: int


@dataclass(frozen=True)
class Helpers:
    """Further connections for one upload.

    Attributes:
        count: how many.
        open: opens one; called in a thread of its own. One that cannot be opened is done without.
    """

    count: int
    open: Callable[[], AbstractContextManager[SftpSession]]


def upload(
    session: SftpSession,
    source: Publishable,
    part: PurePosixPath,
    *,
    resume_at: int,
    progress: Callable[[int, int], None],
    pace: RateLimit,
    helpers: Helpers | None = None,
) -> Upload:
    """Write a source's bytes to ``part`` from ``resume_at`` on, flushed to disk where possible.

    Raises:
        DamagedUploadError: if it is shorter or longer than was written; the part is removed.
        SourceChangedError: if the source became shorter; the part is removed.
        SourceUnreadableError: if the source cannot be read; the part is removed.
        TransientError: if the connection was lost; what arrived stays for the next attempt.
    """
    size_bytes = source.size_bytes
    block_bytes = session.write_block_bytes(part)
    flags = protocol.WRITE if resume_at else protocol.NEW
    if not resume_at:
        # Not only emptied: a connection that is dead here may have writes left over there, and
        # behind the end of a new beginning they would be taken for a part with nothing missing.
        session.remove(part)
    with source.open() as file, session.handle(part, flags) as handle:
        file.seek(resume_at)
        progress(resume_at, size_bytes)
        pieces = Segments(
            file,
            resume_at,
            size_bytes,
            block_bytes=block_bytes,
            name=part.name,
            progress=lambda done: progress(done, size_bytes),
        )
        try:
            with _Crew(helpers, pieces, part, pace, block_bytes) as crew:
                _send(session, handle, part, pieces, pace, block_bytes)
                crew.wait()
        except BaseException:
            if pieces.source_failed:
                with suppress(ArSyncError):
                    session.remove(part)
            raise
        session.sync(handle, part, size_bytes - resume_at)
    _check_size(session, part, size_bytes)
    return Upload(size_bytes - resume_at, resume_at, 1 + crew.helped)


def resume_point(
    session: SftpSession, source: Publishable, part: PurePosixPath, *, gaps: bool
) -> int:
    """From which byte an upload may go on: 0 unless what lies there is a beginning of the source.

    The name of the part holds a fingerprint of its content, and writes of one connection arrive
    in order, so the length tells how much is there; the last MiB of it is read back and compared.

    Args:
        gaps: whether several connections wrote it; then the last `LEAD_BYTES` may have holes.
    """
    present = session.size_bytes(part)
    if not present or present > source.size_bytes:
        return 0
    if gaps:
        present = max(present - LEAD_BYTES, 0)
    start = max(present - _TAIL_BYTES, 0)
    with source.open() as file:
        file.seek(start)
        expected = file.read(present - start)
    with session.handle(part, protocol.READ) as handle, session.calling("reading back", part):
        found = protocol.read_range(session.client, handle, start, present - start)
    return present if found == expected else 0


class _Sender:
    """Keeps a window of writes under way and looks at every status; the pipe never runs dry."""

    def __init__(
        self,
        session: SftpSession,
        handle: bytes,
        pieces: Segments,
        pace: RateLimit,
        block_bytes: int,
    ) -> None:
        self._block_bytes = block_bytes
        self._window = protocol.UNDER_WAY_BYTES // block_bytes
        self._session = session
        self._handle = handle
        self._segments = pieces
        self._rate_limit = pace
        self._pipe = protocol.RequestPipe(session.client)
        # Size of each block under way, and its piece's offset if it is the piece's last block.
        self._blocks: deque[tuple[int, int | None]] = deque()

    def run(self) -> None:
        """Send pieces until there are none left, and wait for all statuses."""
        while (piece := self._segments.take(wait=not self._blocks)) is not END:
            if piece is NOT_YET:
                # The piece that everybody waits for may be this connection's own.
                self._confirm_oldest()
            elif isinstance(piece, tuple):
                self._send_segment(*piece)
        while self._blocks:
            self._confirm_oldest()

    def _send_segment(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(data), self._block_bytes):
            block = view[start : start + self._block_bytes]
            last = start + len(block) == len(data)
            self._rate_limit.wait(len(block))
            protocol.send_write(self._pipe, self._handle, offset + start, block)
            self._blocks.append((len(block), offset if last else None))
            self._session.progress()
            if len(self._blocks) >= self._window:
                self._confirm_oldest()

    def _confirm_oldest(self) -> None:
        protocol.confirm_write(self._pipe)
        self._session.progress()
        size_bytes, finished = self._blocks.popleft()
        self._segments.confirm(size_bytes, finished=finished)


def _send(
    session: SftpSession,
    handle: bytes,
    part: PurePosixPath,
    pieces: Segments,
    pace: RateLimit,
    block_bytes: int,
) -> None:
    with session.calling("writing", part):
        _Sender(session, handle, pieces, pace, block_bytes).run()


class _Crew:
    """The helpers of one upload, each in a thread; none of them outlives a failed upload for long.

    A helper that cannot be opened is no failure; one that breaks off after it took a piece is.
    """

    def __init__(
        self,
        helpers: Helpers | None,
        pieces: Segments,
        part: PurePosixPath,
        pace: RateLimit,
        block_bytes: int,
    ) -> None:
        self._block_bytes = block_bytes
        self._helpers = helpers
        self._segments = pieces
        self._part = part
        self._rate_limit = pace
        self._lock = threading.Lock()
        self._sessions: list[SftpSession] = []
        self._working: list[threading.Thread] = []
        self._closed = False

    @property
    def helped(self) -> int:
        """How many could be opened before the upload was over."""
        return len(self._working)

    def __enter__(self) -> Self:
        for _ in range(self._helpers.count if self._helpers else 0):
            threading.Thread(target=self._help, name="sftp-helper", daemon=True).start()
        return self

    def __exit__(self, kind: object, error: object, tb: object) -> None:
        with self._lock:
            self._closed = True
            threads = list(self._working)
            if isinstance(error, BaseException):
                self._segments.fail(error)
                for session in self._sessions:
                    session.abandon()
        for thread in threads:
            thread.join()

    def wait(self) -> None:
        """Until all helpers at work are done; raises what made one fail."""
        with self._lock:
            self._closed = True
        for thread in self._working:
            thread.join()
        self._segments.take(wait=True)

    def _help(self) -> None:
        assert self._helpers is not None  # noqa: S101  started in __enter__ only
        at_work = False
        try:
            with self._helpers.open() as session:
                with self._lock:
                    if self._closed:
                        return
                    self._sessions.append(session)
                    self._working.append(threading.current_thread())
                    at_work = True
                with session.handle(self._part, protocol.WRITE) as handle:
                    _send(
                        session,
                        handle,
                        self._part,
                        self._segments,
                        self._rate_limit,
                        self._block_bytes,
                    )
        except BaseException as error:  # noqa: BLE001  raised by the main connection's thread
            if at_work:
                self._segments.fail(error)


def _check_size(session: SftpSession, part: PurePosixPath, size_bytes: int) -> None:
    found = session.size_bytes(part)
    if found == size_bytes:
        return
    session.remove(part)
    raise DamagedUploadError(
        f"{part} at {session.endpoint.host} has {found} bytes after {size_bytes} were written",
        remedy="see whether something at the receiver removes or changes files in the spool, and"
        " check its disk; nothing of the archive is left there, the next run sends it again",
    )
