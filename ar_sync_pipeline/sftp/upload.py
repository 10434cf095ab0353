"""Send a file's bytes: resume where a cut upload stopped, check every write, prove the whole."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from ar_sync_pipeline.sftp import protocol
from ar_sync_pipeline.sftp.errors import ConnectionLostError, SourceChangedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import PurePosixPath

    from ar_sync_pipeline.sftp.session import SftpSession

_TAIL_BYTES = 2**20
_HASH_BLOCK_BYTES = 2**20


class Publishable(Protocol):
    """What can be published: a file of known size and hash that can be opened more than once."""

    @property
    def size_bytes(self) -> int:
        """How long it is."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole, 64 hexadecimal digits; may be computed when first asked for."""

    def open(self) -> BinaryIO:
        """The bytes, seekable; closed by whoever opened them."""


@dataclass(frozen=True)
class Upload:
    """What one upload did: bytes sent now, and bytes that were there from an earlier one."""

    sent_bytes: int
    resumed_bytes: int


def upload(
    session: SftpSession,
    source: Publishable,
    part: PurePosixPath,
    *,
    resume_at: int,
    progress: Callable[[int, int], None],
) -> Upload:
    """Write a source's bytes to ``part`` from ``resume_at`` on, flushed to disk where possible.

    The hash of the whole is computed on the way, so what lies there afterwards is what was
    promised, even if somebody rewrote the source meanwhile.

    Raises:
        SourceChangedError: if the bytes are not those of ``source.sha256``; the part is removed.
        TransientError: if the connection was lost; what arrived stays for the next attempt.
    """
    digest, size_bytes = hashlib.sha256(), source.size_bytes
    with source.open() as file:
        _hash_prefix(file, digest.update, resume_at)
        with session.handle(part, protocol.WRITE if resume_at else protocol.NEW) as handle:
            progress(resume_at, size_bytes)
            sender = _Sender(session, handle, lambda done: progress(done, size_bytes))
            with session.calling("writing", part):
                end = _send(sender, file, resume_at, size_bytes, digest.update)
            session.sync(handle, part, end - resume_at)
    if end != size_bytes or digest.hexdigest() != source.sha256:
        session.remove(part)
        raise SourceChangedError(
            f"the file for {part.name} changed while it was being sent",
            remedy="build the archive again",
        )
    _check_size(session, part, size_bytes)
    return Upload(sent_bytes=end - resume_at, resumed_bytes=resume_at)


def resume_point(session: SftpSession, source: Publishable, part: PurePosixPath) -> int:
    """From which byte an upload may go on: 0 unless what lies there is a beginning of the source.

    Writes of one connection arrive in order and the name of the part holds a fingerprint of its
    content, so the length tells how much is there; the last MiB is read back and compared.
    """
    present = session.size_bytes(part)
    if not present or present > source.size_bytes:
        return 0
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
        progress: Callable[[int], None],
    ) -> None:
        self._session = session
        self._handle = handle
        self._progress = progress
        self._pipe = protocol.RequestPipe(session.client)
        self._ends: deque[int] = deque()

    def write(self, offset: int, data: bytes) -> None:
        """Send one block, after waiting for the oldest one's status if the window is full."""
        protocol.send_write(self._pipe, self._handle, offset, data)
        self._ends.append(offset + len(data))
        self._session.progress()
        if len(self._pipe) >= protocol.WRITE_WINDOW:
            self._confirm_oldest()

    def finish(self) -> None:
        """Wait for all statuses."""
        while len(self._pipe):
            self._confirm_oldest()

    def _confirm_oldest(self) -> None:
        protocol.confirm_write(self._pipe)
        self._session.progress()
        self._progress(self._ends.popleft())


def _send(
    sender: _Sender, file: BinaryIO, offset: int, size_bytes: int, update: Callable[[bytes], object]
) -> int:
    """Send from ``offset`` to the end, never more than was promised; returns where it ended."""
    position = offset
    while position < size_bytes:
        data = file.read(min(protocol.WRITE_BLOCK_BYTES, size_bytes - position))
        if not data:
            break
        sender.write(position, data)
        update(data)
        position += len(data)
    sender.finish()
    return position


def _hash_prefix(file: BinaryIO, update: Callable[[bytes], object], length: int) -> None:
    remaining = length
    while remaining and (data := file.read(min(_HASH_BLOCK_BYTES, remaining))):
        update(data)
        remaining -= len(data)


def _check_size(session: SftpSession, part: PurePosixPath, size_bytes: int) -> None:
    found = session.size_bytes(part)
    if found == size_bytes:
        return
    session.remove(part)
    raise ConnectionLostError(
        f"{part} at {session.endpoint.host} has {found} bytes after {size_bytes} were written",
        remedy="nothing if a retry succeeds; else see whether something removes files there",
    )
