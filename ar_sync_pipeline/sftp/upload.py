"""Uploads a file: resumes an interrupted upload, and checks the status of every write."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol, Self

from ar_sync_pipeline.errors import ArSyncError, ParkedError, TerminalError
from ar_sync_pipeline.sftp import protocol
from ar_sync_pipeline.sftp.errors import DamagedUploadError
from ar_sync_pipeline.sftp.rate_limit import RateLimit
from ar_sync_pipeline.sftp.segments import END, LEAD_BYTES, NOT_YET, Segments
from ar_sync_pipeline.sftp.session import SftpSession

_TAIL_BYTES = 2**20


class Publishable(Protocol):
    """A file of known size that can be published and opened more than once."""

    @property
    def size_bytes(self) -> int:
        """Size of the file in bytes."""

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digits that identify the content; cheap to calculate."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the file in hex; the first access may read the whole file."""

    @property
    def head(self) -> bytes:
        """First bytes of the file, which identify the content together with its size."""

    @property
    def identity(self) -> bytes:
        """Bytes that are in the head of every description of the same archive, and in no other."""

    def open(self) -> BinaryIO:
        """Return a seekable stream, which the caller closes.

        Reading must raise an error instead of returning bytes that do not fit the fingerprint.
        """


@dataclass(frozen=True)
class Upload:
    """Result of one upload: sent bytes, bytes of an earlier upload, number of connections."""

    sent_bytes: int
    resumed_bytes: int
    connections: int


@dataclass(frozen=True)
class UploadWorkers:
    """Further connections for one upload.

    Attributes:
        count: Number of further connections.
        open: Function that opens one, called in its own thread; a failure to open is ignored.
    """

    count: int
    open: Callable[[], AbstractContextManager[SftpSession]]


def upload(
    session: SftpSession,
    source: Publishable,
    part: PurePosixPath,
    *,
    resume_at: int,
    progress: Callable[[int, int, int], None],
    rate_limit: RateLimit,
    workers: UploadWorkers | None = None,
) -> Upload:
    """Write the bytes of a source from ``resume_at`` on to ``part``, and flush it if possible.

    Args:
        resume_at: First byte that the part lacks.
        progress: Function that gets the number of confirmed bytes, the total, and the first byte
            that is not confirmed.

    Raises:
        DamagedUploadError: The part has another size than was written; it is removed.
        SourceChangedError: The source became shorter; the part is removed.
        SourceUnreadableError: The source cannot be read; the part is removed.
        ParkedError: The server refused a write, the flush or the close; the part is removed.
        TransientError: The connection was lost; the part stays for the next attempt.
    """
    size_bytes = source.size_bytes
    block_bytes = session.write_block_bytes(part)
    flags = protocol.WRITE if resume_at else protocol.NEW
    if not resume_at:
        # Removed, not emptied: late writes of a dead connection could land after the end of the new
        # part, which would then look longer than it is.
        session.remove(part)
    segments: Segments | None = None
    try:
        with source.open() as file, session.handle(part, flags) as handle:
            file.seek(resume_at)
            progress(resume_at, size_bytes, resume_at)
            segments = Segments(
                file,
                resume_at,
                size_bytes,
                block_bytes=block_bytes,
                name=part.name,
                progress=lambda done, whole: progress(done, size_bytes, whole),
            )
            with _WorkerPool(workers, segments, part, rate_limit, block_bytes) as pool:
                _send(session, handle, part, segments, rate_limit, block_bytes)
                pool.wait()
            session.sync(handle, part, size_bytes - resume_at)
    except BaseException as error:
        # The server performs the writes after a refused one, so the size of the part no longer
        # tells what has arrived; nor does it after a failed flush or close, which may lose any
        # block.
        is_refused = isinstance(error, (ParkedError, TerminalError))
        if segments is not None and (segments.source_failed or is_refused):
            with suppress(ArSyncError):
                session.remove(part)
        raise
    _check_size(session, part, size_bytes)
    return Upload(size_bytes - resume_at, resume_at, 1 + pool.started)


def resume_point(
    session: SftpSession,
    source: Publishable,
    part: PurePosixPath,
    *,
    gaps: bool,
    whole_bytes: int = 0,
) -> int:
    """Return the byte from which an upload resumes; 0 if the part differs from the source.

    The name of the part contains a fingerprint of its content, and the writes of one connection
    arrive in order, so the size of the part tells how much has arrived (`upload` removes a part
    with a refused write). The last MiB is read back and compared. If the source can no longer be
    read, the part is removed.

    Args:
        session: Open session.
        source: File to upload.
        part: Path of the part.
        gaps: Whether several connections wrote the part; its last `LEAD_BYTES` may then have gaps.
        whole_bytes: Number of its first bytes that have none, as far as known.
    """
    present = session.size_bytes(part)
    if not present or present > source.size_bytes:
        return 0
    if gaps:
        known = whole_bytes if whole_bytes <= present else 0
        present = max(present - LEAD_BYTES, known)
    start = max(present - _TAIL_BYTES, 0)
    try:
        with source.open() as file:
            file.seek(start)
            expected = file.read(present - start)
    except (ArSyncError, OSError):
        # No attempt can send the rest of it.
        with suppress(ArSyncError):
            session.remove(part)
        raise
    with session.handle(part, protocol.READ) as handle, session.operation("reading back", part):
        found = protocol.read_range(session.client, handle, start, present - start)
    return present if found == expected else 0


class _Sender:
    """Keeps a window of writes in flight and checks the status of each."""

    def __init__(
        self,
        session: SftpSession,
        handle: bytes,
        segments: Segments,
        rate_limit: RateLimit,
        block_bytes: int,
    ) -> None:
        self._block_bytes = block_bytes
        self._window = protocol.IN_FLIGHT_BYTES // block_bytes
        self._session = session
        self._handle = handle
        self._segments = segments
        self._rate_limit = rate_limit
        self._pipe = protocol.RequestPipe(session.client)
        # Size of each block in flight; the last block of a segment has the offset of the segment.
        self._blocks: deque[tuple[int, int | None]] = deque()

    def run(self) -> None:
        """Send all segments and wait for all statuses."""
        while (segment := self._segments.take(wait=not self._blocks)) is not END:
            if segment is NOT_YET:
                # The segment that all wait for may be that of this connection.
                self._confirm_oldest()
            elif isinstance(segment, tuple):
                self._send_segment(*segment)
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
    segments: Segments,
    rate_limit: RateLimit,
    block_bytes: int,
) -> None:
    with session.operation("writing", part):
        _Sender(session, handle, segments, rate_limit, block_bytes).run()


class _WorkerPool:
    """Workers of one upload, each in a thread; they end soon after a failed upload.

    A worker that cannot open its connection is ignored; one that fails later fails the upload.
    """

    def __init__(
        self,
        workers: UploadWorkers | None,
        segments: Segments,
        part: PurePosixPath,
        rate_limit: RateLimit,
        block_bytes: int,
    ) -> None:
        self._block_bytes = block_bytes
        self._workers = workers
        self._segments = segments
        self._part = part
        self._rate_limit = rate_limit
        self._lock = threading.Lock()
        self._sessions: list[SftpSession] = []
        self._working: list[threading.Thread] = []
        self._closed = False

    @property
    def started(self) -> int:
        """Number of workers that opened a connection before the upload ended."""
        return len(self._working)

    def __enter__(self) -> Self:
        for _ in range(self._workers.count if self._workers else 0):
            threading.Thread(target=self._work, name="sftp-helper", daemon=True).start()
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
        """Wait until all workers are done; raise the error of a failed one."""
        with self._lock:
            self._closed = True
        for thread in self._working:
            thread.join()
        self._segments.take(wait=True)

    def _work(self) -> None:
        assert self._workers is not None  # noqa: S101  started in __enter__ only
        at_work = False
        try:
            with self._workers.open() as session:
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
        remedy="check whether a program at the receiver removes or changes files in the spool, and"
        " check its disk; the part is removed, the next run sends the archive again",
    )
