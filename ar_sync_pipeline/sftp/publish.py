"""Publish an archive: all of it under its final name, or nothing (design, section 5; old D10)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import stamina

from ar_sync_pipeline.errors import TransientError
from ar_sync_pipeline.sftp.errors import (
    ArchiveConflictError,
    ReceiverDiskFullError,
    RefusedByServerError,
    RemoteFileMissingError,
    RemoteNameError,
)
from ar_sync_pipeline.sftp.session import SessionLimits, SftpSession, open_session
from ar_sync_pipeline.sftp.spool_folders import (
    ARCHIVE_FOLDERS,
    INCOMING,
    applied_name,
    prepare_spool,
    safe_child,
)
from ar_sync_pipeline.sftp.upload import Publishable, Upload, resume_point, upload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import PurePosixPath

    from ar_sync_pipeline.sftp.endpoint import SftpEndpoint

_FINGERPRINT_DIGITS = 16
_SPACE_FACTOR = 1.05


@dataclass(frozen=True)
class Publication:
    """What publishing one archive did.

    Attributes:
        path: where the archive lies now, under its waiting or its applied name.
        size_bytes: of the archive.
        sent_bytes: written by this call, all attempts together.
        resumed_bytes: found there from an earlier attempt and not sent again by the last one.
        seconds: from the first to the last byte of the call, waits between attempts included.
        attempts: connections that were needed.
        already_there: the archive had been published before; nothing was sent.
    """

    path: PurePosixPath
    size_bytes: int
    sent_bytes: int
    resumed_bytes: int
    seconds: float
    attempts: int
    already_there: bool


@dataclass(frozen=True)
class RetryPlan:
    """How often and how long a publication is tried again after a `TransientError`.

    Attributes:
        attempts: connections at most.
        total_seconds: no attempt starts later than this after the first.
        first_wait_seconds: doubled after each attempt, with jitter.
        longest_wait_seconds: between two attempts.
    """

    attempts: int = 8
    total_seconds: float = 3600
    first_wait_seconds: float = 2
    longest_wait_seconds: float = 120


def publish(
    session: SftpSession,
    source: Publishable,
    *,
    spool: PurePosixPath,
    folder: str,
    filename: str,
    progress: Callable[[int, int], None] | None = None,
) -> Publication:
    """Upload an archive into the spool and make it visible with one rename.

    It is written to ``.incoming/<filename>.<fingerprint>.part``, a name that depends on the
    content only, so that a cut upload is resumed by whoever tries next. The same archive again,
    waiting or applied, is a no-op; that is also how a lost answer to the rename is healed.

    Args:
        session: an open session.
        source: the archive.
        spool: the spool, as the account sees it.
        folder: ``complete`` or ``partial``.
        filename: the name in the spool, ``NEW_backup_...``.
        progress: called with the bytes that are safely there and the total.

    Raises:
        ArchiveConflictError: if another archive bears this name.
        ReceiverDiskFullError: if the free space is less than 1.05 times what is still to be sent.
        SpoolMissingError: if the spool is not there.
        TransientError: if the connection was lost; call again on a new session.
    """
    started = time.monotonic()
    final = _final_path(spool, folder, filename)
    prepare_spool(session, spool)
    fingerprint = source.sha256[:_FINGERPRINT_DIGITS]
    part = safe_child(spool / INCOMING, f"{filename}.{fingerprint}.part")
    present = _find_published(session, final, source.size_bytes)
    if present is not None:
        session.remove(part)
        return _publication(present, source, started, None)
    resume_at = resume_point(session, source, part)
    _check_free_space(session, spool, source.size_bytes - resume_at)
    done = upload(session, source, part, resume_at=resume_at, progress=progress or _ignore)
    path = _reveal(session, part, final, source.size_bytes)
    return _publication(path, source, started, done)


def publish_with_retries(  # noqa: PLR0913  keyword-only names of one place
    endpoint: SftpEndpoint,
    source: Publishable,
    *,
    spool: PurePosixPath,
    folder: str,
    filename: str,
    progress: Callable[[int, int], None] | None = None,
    limits: SessionLimits | None = None,
    plan: RetryPlan | None = None,
) -> Publication:
    """`publish` on as many connections as it needs; only a `TransientError` is tried again.

    Raises:
        ArSyncError: as `publish` and `open_session`; the last `TransientError` if the plan ends.
    """
    plan = plan or RetryPlan()
    started, tally = time.monotonic(), _Tally(progress or _ignore)
    for attempt in stamina.retry_context(
        on=TransientError,
        attempts=plan.attempts,
        timeout=plan.total_seconds,
        wait_initial=plan.first_wait_seconds,
        wait_max=plan.longest_wait_seconds,
        wait_jitter=plan.first_wait_seconds,
    ):
        with attempt:
            tally.start_attempt()
            with open_session(endpoint, limits) as session:
                result = publish(
                    session, source, spool=spool, folder=folder, filename=filename, progress=tally
                )
            return replace(
                result,
                sent_bytes=tally.sent_bytes,
                already_there=result.already_there and not tally.sent_bytes,
                attempts=attempt.num,
                seconds=time.monotonic() - started,
            )
    raise AssertionError("stamina ends with a result or with the last error")


class _Tally:
    """Adds up what all attempts sent, from the progress that they report."""

    def __init__(self, forward: Callable[[int, int], None]) -> None:
        self._forward = forward
        self._last: int | None = None
        self.sent_bytes = 0

    def start_attempt(self) -> None:
        self._last = None

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        self.sent_bytes += 0 if self._last is None else done_bytes - self._last
        self._last = done_bytes
        self._forward(done_bytes, total_bytes)


def _ignore(_done_bytes: int, _total_bytes: int) -> None:
    return


def _publication(
    path: PurePosixPath, source: Publishable, started: float, done: Upload | None
) -> Publication:
    return Publication(
        path=path,
        size_bytes=source.size_bytes,
        sent_bytes=done.sent_bytes if done else 0,
        resumed_bytes=done.resumed_bytes if done else 0,
        seconds=time.monotonic() - started,
        attempts=1,
        already_there=done is None,
    )


def _final_path(spool: PurePosixPath, folder: str, filename: str) -> PurePosixPath:
    if folder not in ARCHIVE_FOLDERS:
        raise RemoteNameError(
            f"{folder!r} is not a folder for archives",
            remedy=f"use one of {', '.join(ARCHIVE_FOLDERS)}",
        )
    return safe_child(spool / folder, filename)


def _find_published(
    session: SftpSession, final: PurePosixPath, size_bytes: int
) -> PurePosixPath | None:
    """Where this very archive lies already, waiting or applied."""
    for path in dict.fromkeys((final, final.with_name(applied_name(final.name)))):
        found = session.size_bytes(path)
        if found == size_bytes:
            return path
        if found is not None:
            raise ArchiveConflictError(
                f"{path} at {session.endpoint.host} is another archive of the same name:"
                f" {found:,} bytes instead of {size_bytes:,}",
                remedy="find out which sender wrote it; two senders must not share a spool",
            )
    return None


def _check_free_space(session: SftpSession, spool: PurePosixPath, needed_bytes: int) -> None:
    free = session.free_bytes(spool)
    if free is None or needed_bytes * _SPACE_FACTOR <= free:
        return
    raise ReceiverDiskFullError(
        f"{needed_bytes:,} bytes are to be sent and only {free:,} are free in {spool}"
        f" at {session.endpoint.host}",
        remedy="free space at the receiver, or shorten AR_SYNC_BKPS_LIFETIME there",
    )


def _reveal(
    session: SftpSession, part: PurePosixPath, final: PurePosixPath, size_bytes: int
) -> PurePosixPath:
    """Give the archive its final name, which nothing else bears.

    The name holds the snapshot's microsecond, so whoever else could use it between the check and
    the rename is another attempt at the same archive.
    """
    present = _find_published(session, final, size_bytes)
    if present is None:
        try:
            session.rename(part, final)
        except (RemoteFileMissingError, RefusedByServerError):
            # Another attempt at the same archive may have renamed the part already.
            present = _find_published(session, final, size_bytes)
            if present is None:
                raise
        else:
            return final
    session.remove(part)
    return present
