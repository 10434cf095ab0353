"""The connectivity check: every step to a published file, named, timed and explained."""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sftp import protocol
from ar_sync_pipeline.sftp.errors import RefusedByServerError
from ar_sync_pipeline.sftp.session import OpeningStep, SessionLimits, SftpSession, open_session
from ar_sync_pipeline.sftp.spool_folders import (
    ARCHIVE_FOLDERS,
    INCOMING,
    RECEIPTS,
    check_spool,
    list_names,
    prepare_spool,
    read_small_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import PurePosixPath

    from ar_sync_pipeline.sftp.endpoint import SftpEndpoint

_TEST_FILE_BYTES = 256 * 1024
_CLOCK_TOLERANCE_SECONDS = 60
_LITTLE_FREE_BYTES = 10**9
_LARGEST_RECEIPT_BYTES = 64 * 1024


class ProbeOutcome(StrEnum):
    """How a step ended."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"


@dataclass(frozen=True)
class ProbeStep:
    """One step of the check.

    Attributes:
        name: what was tried, in a word or two.
        outcome: passed, passed with a warning, or failed.
        seconds: how long it took.
        detail: one sentence on what was found.
        remedy: what to do about it; None where nothing is to be done.
        numbers: what was measured, by name with its unit.
    """

    name: str
    outcome: ProbeOutcome
    seconds: float
    detail: str
    remedy: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the next step could follow."""
        return self.outcome is not ProbeOutcome.FAILED


@dataclass(frozen=True)
class _Finding:
    detail: str
    remedy: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


def probe(
    endpoint: SftpEndpoint,
    spool: PurePosixPath,
    *,
    clock: Callable[[], datetime],
    limits: SessionLimits | None = None,
) -> list[ProbeStep]:
    """Walk the whole way of an archive with a test file; stop at the first step that fails.

    Missing subfolders of the spool are made, as the first publication would do.

    Args:
        endpoint: the receiver's account.
        spool: the spool, as that account sees it.
        clock: this machine's aware time.
        limits: of the session.

    Returns:
        The steps that were tried, in order; only the last one can have failed.
    """
    record = _Record(endpoint)
    try:
        with open_session(endpoint, limits, observe=record.opening) as session:
            record.describe_opening(session)
            _check_the_spool(record, session, spool, clock)
    except ArSyncError as error:
        record.close(error)
    return record.steps


STEPS = (
    *OpeningStep,
    "spool exists",
    "spool writable",
    "free space",
    "clock difference",
    "receipts readable",
)
"""Every step of `probe`, in order."""


def _check_the_spool(
    record: _Record, session: SftpSession, spool: PurePosixPath, clock: Callable[[], datetime]
) -> None:
    with record.step("spool exists") as found:
        check_spool(session, spool)
        found.append(_Finding(f"{spool} is a folder"))
    with record.step("spool writable") as found:
        prepare_spool(session, spool)
        written_at, finding = _round_trip(session, spool, clock)
        found.append(finding)
    with record.step("free space") as found:
        found.append(_judge_free_space(session.free_bytes(spool)))
    with record.step("clock difference") as found:
        found.append(_judge_clock(*written_at))
    with record.step("receipts readable") as found:
        found.append(_read_receipts(session, spool))


class _Record:
    """Collects steps; the one under way when an error passes is the one that failed."""

    def __init__(self, endpoint: SftpEndpoint) -> None:
        self.steps: list[ProbeStep] = []
        self._endpoint = endpoint
        self._failed: tuple[str, float] = ("settings", 0.0)

    @contextmanager
    def step(self, name: str) -> Iterator[list[_Finding]]:
        """Time one step; it appends what it found."""
        started, found = time.monotonic(), list[_Finding]()
        try:
            yield found
        except ArSyncError:
            self._failed = (name, time.monotonic() - started)
            raise
        self._add(name, time.monotonic() - started, found[0])

    @contextmanager
    def opening(self, step: OpeningStep) -> Iterator[None]:
        """Time one step of opening the session; what it found is told by `describe_opening`."""
        with self.step(step) as found:
            yield
            found.append(_Finding(_OPENING_DETAILS[step].format(endpoint=self._endpoint)))

    def describe_opening(self, session: SftpSession) -> None:
        """Replace the host key's step by one that tells the fingerprint and the algorithms."""
        index = list(OpeningStep).index(OpeningStep.HOST_KEY)
        transport = session.transport
        key, cipher = transport.get_remote_server_key(), transport.local_cipher
        detail = (
            f"{key.get_name()} {key.fingerprint} is pinned; the server is"
            f" {transport.remote_version.removeprefix('SSH-2.0-')!r}, the cipher {cipher}"
        )
        remedy = None if "gcm" in cipher else "allow aes128-gcm@openssh.com, it costs a third less"
        seconds = self.steps.pop(index).seconds
        self._add(OpeningStep.HOST_KEY, seconds, _Finding(detail, remedy), at=index)

    def close(self, error: ArSyncError) -> None:
        """Add the step that failed."""
        name, seconds = self._failed
        self.steps.append(
            ProbeStep(name, ProbeOutcome.FAILED, seconds, error.problem, error.remedy)
        )

    def _add(self, name: str, seconds: float, found: _Finding, at: int | None = None) -> None:
        outcome = ProbeOutcome.PASSED if found.remedy is None else ProbeOutcome.WARNED
        step = ProbeStep(name, outcome, seconds, found.detail, found.remedy, found.numbers)
        self.steps.insert(len(self.steps) if at is None else at, step)


_OPENING_DETAILS = {
    OpeningStep.RESOLVE: "{endpoint.host} has an address",
    OpeningStep.CONNECT: "port {endpoint.port} answers",
    OpeningStep.HOST_KEY: "the host key is pinned",
    OpeningStep.LOGIN: "{endpoint.user!r} is let in with the key",
    OpeningStep.SFTP: "the account offers SFTP",
}


def _round_trip(
    session: SftpSession, spool: PurePosixPath, clock: Callable[[], datetime]
) -> tuple[tuple[int | None, float], _Finding]:
    """Write, flush, read back, rename through the archive folders and remove a test file.

    It is hidden or in ``.incoming`` all the time, so the receiver never takes it for an archive;
    the renames also show a folder that lies on another file system.
    """
    name, content = f"probe.{secrets.token_hex(8)}.part", secrets.token_bytes(_TEST_FILE_BYTES)
    places = [spool / INCOMING / name, *(spool / f / f".{name}" for f in ARCHIVE_FOLDERS)]
    try:
        synced = _write(session, places[0], content)
        seconds = (session.modified_at_seconds(places[0]), clock().timestamp())
        _read_back(session, places[0], content)
        for source, target in pairwise(places):
            session.rename(source, target)
    except ArSyncError:
        # What failed is what the operator must read, not that the clean-up then failed too.
        with suppress(ArSyncError):
            _remove_all(session, places)
        raise
    _remove_all(session, places)
    detail = "a test file was written, read back, renamed and removed"
    if not synced:
        return seconds, _Finding(
            f"{detail}, but the server cannot flush to disk (fsync@openssh.com)",
            "nothing, the receiver checks every archive; OpenSSH's server would flush",
        )
    return seconds, _Finding(detail)


def _remove_all(session: SftpSession, places: Sequence[PurePosixPath]) -> None:
    for place in places:
        session.remove(place)


def _write(session: SftpSession, path: PurePosixPath, content: bytes) -> bool:
    block = protocol.WRITE_BLOCK_BYTES
    with session.handle(path, protocol.NEW) as handle:
        with session.calling("writing", path):
            pipe = protocol.RequestPipe(session.client)
            for offset in range(0, len(content), block):
                protocol.send_write(pipe, handle, offset, content[offset : offset + block])
            while len(pipe):
                protocol.confirm_write(pipe)
        return session.sync(handle, path, len(content))


def _read_back(session: SftpSession, path: PurePosixPath, content: bytes) -> None:
    with session.handle(path, protocol.READ) as handle, session.calling("reading back", path):
        found = protocol.read_range(session.client, handle, 0, len(content))
    if found != content:
        raise RefusedByServerError(
            f"{path} at {session.endpoint.host} reads back other bytes than were written",
            remedy="check the receiver's disk and file system",
        )


def _judge_free_space(free_bytes: int | None) -> _Finding:
    if free_bytes is None:
        return _Finding(
            "the server cannot tell its free space (statvfs@openssh.com)",
            "watch the free space at the receiver; OpenSSH's server would tell it",
        )
    detail, numbers = f"{free_bytes:,} bytes are free", {"free_gb": free_bytes / 1e9}
    if free_bytes < _LITTLE_FREE_BYTES:
        return _Finding(detail, "make sure that two complete archives fit", numbers)
    return _Finding(detail, numbers=numbers)


def _judge_clock(modified_at_seconds: int | None, local_seconds: float) -> _Finding:
    if modified_at_seconds is None:
        return _Finding("the server does not tell when a file was written")
    # A file's time over SFTP version 3 has whole seconds.
    difference = modified_at_seconds + 0.5 - local_seconds
    detail = f"the receiver's clock differs by {difference:+.0f} s"
    numbers = {"clock_difference_seconds": difference}
    if abs(difference) > _CLOCK_TOLERANCE_SECONDS:
        remedy = "set both clocks with NTP; lags that are shown are off by this"
        return _Finding(detail, remedy, numbers)
    return _Finding(detail, numbers=numbers)


def _read_receipts(session: SftpSession, spool: PurePosixPath) -> _Finding:
    """List the folder, and read one of the files that the receiver wrote."""
    names = list_names(session, spool / RECEIPTS)
    if names:
        read_small_file(session, spool / RECEIPTS / names[-1], _LARGEST_RECEIPT_BYTES)
    return _Finding(f"{len(names)} files are there", numbers={"receipts": len(names)})
