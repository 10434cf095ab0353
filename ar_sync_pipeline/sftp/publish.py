"""Publishes an archive atomically under its final name (old system, D10)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.spool_names import ARCHIVE_FOLDERS, INCOMING
from ar_sync_pipeline.errors import ArSyncError, ParkedError
from ar_sync_pipeline.sftp.errors import (
    ArchiveConflictError,
    DamagedUploadError,
    ReceiverDiskFullError,
    RemoteFileMissingError,
    RemoteNameError,
)
from ar_sync_pipeline.sftp.older_parts import GivenUp, remove_older_parts
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.protocol import READ, read_range
from ar_sync_pipeline.sftp.rate_limit import RateLimit
from ar_sync_pipeline.sftp.remote_hash import remote_sha256
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline.sftp.spool_folders import applied_name, prepare_spool, safe_child
from ar_sync_pipeline.sftp.upload import Publishable, Upload, UploadWorkers, resume_point, upload

_FINGERPRINT_DIGITS = 16
_SPACE_FACTOR = 1.05
_HEAD_BYTES = 64 * 1024
_ROUND_TRIP_PER_CONNECTION_SECONDS = 0.01
_BYTES_PER_CONNECTION = 16 * 2**20


@dataclass(frozen=True)
class SpoolPlace:
    """Place of an archive in the spool.

    Attributes:
        spool: Path of the spool, as the account sees it.
        folder: ``complete`` or ``partial``.
        filename: Name in the spool, ``NEW_backup_...``.
        admit: Function that reads the spool, and raises an error if the archive must not be sent.
        arrives: Function that is called with True before the rename to the final name, and with
            False if the server has refused it.
        given_up: Function that tells of which archives the parts may be removed; None: of none.
    """

    spool: PurePosixPath
    folder: str
    filename: str
    admit: Callable[[SftpSession], None] | None = None
    arrives: Callable[[bool], None] | None = None
    given_up: GivenUp | None = None

    @property
    def final(self) -> PurePosixPath:
        """Path of the archive.

        Raises:
            RemoteNameError: The folder or the name is none of an archive.
        """
        if self.folder not in ARCHIVE_FOLDERS:
            raise RemoteNameError(
                f"{self.folder!r} is not a folder for archives",
                remedy=f"use one of {', '.join(ARCHIVE_FOLDERS)}",
            )
        return safe_child(self.spool / self.folder, self.filename)

    def parts(self, source: Publishable) -> tuple[PurePosixPath, PurePosixPath]:
        """Return the part for one connection, and the one for several (it may have gaps)."""
        stem = f"{self.filename}.{source.fingerprint[:_FINGERPRINT_DIGITS]}"
        incoming = self.spool / INCOMING
        return safe_child(incoming, f"{stem}.part"), safe_child(incoming, f"{stem}.several.part")


@dataclass(frozen=True)
class Publication:
    """Result of publishing one archive.

    Attributes:
        path: Path of the archive, under its waiting or its applied name.
        size_bytes: Size of the archive in bytes.
        sent_bytes: Bytes written by all attempts of this call.
        resumed_bytes: Bytes from earlier attempts that the last attempt did not send again.
        seconds: Duration of the call, including waits between attempts.
        attempts: Number of attempts.
        already_there: Whether the archive had been published before, so that nothing was sent.
        described_otherwise: Whether the archive that was there has another manifest, such as that
            of another version of the product or with another signature.
        connections: Number of parallel connections in the last attempt.
        sha256_confirmed: Whether the receiver's own hash of the archive agrees; False if the
            account may not run commands, or the source can no longer be read.
    """

    path: PurePosixPath
    size_bytes: int
    sent_bytes: int
    resumed_bytes: int
    seconds: float
    attempts: int
    already_there: bool
    described_otherwise: bool
    connections: int
    sha256_confirmed: bool


class _Found(NamedTuple):
    """The archive at the receiver, and whether it has the same bytes."""

    path: PurePosixPath
    is_alike: bool = True


@dataclass(frozen=True)
class TransferLimits:
    """Limits of the bandwidth that one publication uses.

    Attributes:
        max_connections: Limit of parallel connections; more than one are used only if faster.
        bytes_per_second: Limit of all connections together; None: no limit.
    """

    max_connections: int = 1
    bytes_per_second: float | None = None


@dataclass
class PartState:
    """What the attempts at one archive know of its part.

    Attributes:
        whole_bytes: Number of its first bytes that have all been confirmed.
    """

    whole_bytes: int = 0


def publish(
    session: SftpSession,
    source: Publishable,
    place: SpoolPlace,
    *,
    progress: Callable[[int, int], None] | None = None,
    transfer: TransferLimits | None = None,
    state: PartState | None = None,
) -> Publication:
    """Upload an archive to the spool and make it visible with one rename.

    It is written to ``.incoming/<filename>.<fingerprint>.part``, a name that depends only on the
    content, so that the next attempt resumes an interrupted upload. Publishing the same archive
    again, waiting or applied, does nothing; this also covers a lost answer to the rename.

    Args:
        session: Open session.
        source: Archive to publish.
        place: Place in the spool.
        progress: Function that gets the number of confirmed bytes and the total.
        transfer: Bandwidth limits; by default one connection without a limit.
        state: What earlier attempts of this process know; it is kept up to date.

    Raises:
        ArchiveConflictError: Another archive has this name.
        ArSyncError: The source raises it, so that the archive cannot be sent; the part is removed.
        DamagedUploadError: The uploaded bytes differ; they were removed.
        ReceiverDiskFullError: The free space is less than 1.05 times the bytes to send.
        RemoteSpoolMissingError: The spool does not exist.
        TransientError: The connection was lost; call again with a new session.
    """
    started = time.monotonic()
    transfer, part_state = transfer or TransferLimits(), state or PartState()
    final = place.final
    prepare_spool(session, place.spool)
    parts = place.parts(source)
    present = _find_published(session, final, source)
    if present is not None:
        for part in parts:
            session.remove(part)
        return _publication(present, source, started, None, confirmed=False)
    if place.admit is not None:
        place.admit(session)
    if place.folder == ArchiveKind.PARTIAL:
        # Before the space is needed; those of completes may be resumed until a newer one is there.
        remove_older_parts(session, place.spool, place.filename, place.given_up)
    workers = _workers(session, source.size_bytes, transfer)
    part, resume_at = _where_to_resume(
        session, source, parts, part_state, several=workers is not None
    )
    _check_free_space(session, place.spool, source.size_bytes - resume_at)

    def report(done_bytes: int, total_bytes: int, whole_bytes: int) -> None:
        part_state.whole_bytes = whole_bytes
        (progress or ignore)(done_bytes, total_bytes)

    done = upload(
        session,
        source,
        part,
        resume_at=resume_at,
        progress=report,
        rate_limit=RateLimit(transfer.bytes_per_second),
        workers=workers,
    )
    confirmed = _confirm_content(session, source, part)
    found = _rename_into_place(session, part, place, source)
    if place.folder == ArchiveKind.COMPLETE:
        remove_older_parts(session, place.spool, place.filename, place.given_up)
    return _publication(found, source, started, done, confirmed=confirmed)


def ignore(*_: object) -> None:
    """Do nothing, in place of a function that the caller does not give."""


def _publication(
    found: _Found, source: Publishable, started: float, done: Upload | None, *, confirmed: bool
) -> Publication:
    """Return the result of one attempt; ``done`` is None if the archive was there before."""
    return Publication(
        path=found.path,
        size_bytes=source.size_bytes,
        sent_bytes=done.sent_bytes if done else 0,
        resumed_bytes=done.resumed_bytes if done else 0,
        seconds=time.monotonic() - started,
        attempts=1,
        already_there=done is None,
        described_otherwise=not found.is_alike,
        connections=done.connections if done else 1,
        sha256_confirmed=confirmed,
    )


def _where_to_resume(
    session: SftpSession,
    source: Publishable,
    parts: tuple[PurePosixPath, PurePosixPath],
    state: PartState,
    *,
    several: bool,
) -> tuple[PurePosixPath, int]:
    """Return the part to resume and its first missing byte; a part with gaps may be used again."""
    alone, together = parts
    if session.size_bytes(together) is None:
        if not several:
            return alone, resume_point(session, source, alone, gaps=False)
        if session.size_bytes(alone) is not None:
            session.rename(alone, together)
    whole_bytes = state.whole_bytes
    return together, resume_point(session, source, together, gaps=True, whole_bytes=whole_bytes)


def _workers(
    session: SftpSession, size_bytes: int, transfer: TransferLimits
) -> UploadWorkers | None:
    """Return further connections if one cannot use the whole bandwidth.

    The channel window of OpenSSH is 2 MiB, so one connection sends 2 MiB per round trip. With a
    short round trip a second connection is not faster (``benchmarks/transport.py``).
    """
    by_line = int(session.round_trip_seconds / _ROUND_TRIP_PER_CONNECTION_SECONDS)
    by_size = size_bytes // _BYTES_PER_CONNECTION
    count = min(transfer.max_connections - 1, by_line, by_size)
    if count < 1:
        return None
    return UploadWorkers(count, lambda: open_session(session.endpoint, session.limits))


def _confirm_content(session: SftpSession, source: Publishable, part: PurePosixPath) -> bool:
    """Compare the receiver's own hash of the upload; return False if a side cannot hash.

    To hash the source may read it again. It was checked while it was sent, so a file of it that
    changed since is no reason to send the archive again.
    """
    there = remote_sha256(session, part, source.size_bytes)
    if there is None:
        return False
    try:
        here = source.sha256
    except (ArSyncError, OSError):
        return False
    if there != here:
        session.remove(part)
        raise DamagedUploadError(
            f"{part} at {session.endpoint.host} has other content than was sent (sha256 {there}"
            f" instead of {here}), though every write was confirmed",
            remedy="check the receiver's disk and memory, which damage data; nothing of the archive"
            " is left there, the next run sends it again",
        )
    return True


def _find_published(
    session: SftpSession, final: PurePosixPath, source: Publishable
) -> _Found | None:
    """Return the same archive if it is published, waiting or applied.

    Size and first bytes identify its content: it begins with its manifest, which contains the
    hashes of everything after it. The manifest differs if the sender was upgraded, or its signing
    key replaced, between the rename of the archive and the retry of a killed run.
    """
    for path in dict.fromkeys((final, final.with_name(applied_name(final.name)))):
        found = session.size_bytes(path)
        if found is None:
            continue
        try:
            head = _head(session, path, len(source.head))
        except RemoteFileMissingError:  # the receiver renamed it meanwhile
            continue
        difference = _difference(source, found, head)
        if difference is None or source.identity in head:
            return _Found(path, is_alike=difference is None)
        raise ArchiveConflictError(
            f"{path} at {session.endpoint.host} is another archive of the same name: {difference}",
            remedy="find out which sender wrote it; two senders must not share a spool",
        )
    return None


def _head(session: SftpSession, path: PurePosixPath, size_bytes: int) -> bytes:
    with session.handle(path, READ) as handle, session.operation("reading", path):
        return read_range(session.client, handle, 0, min(size_bytes, _HEAD_BYTES))


def _difference(source: Publishable, found_bytes: int, head: bytes) -> str | None:
    if found_bytes != source.size_bytes:
        return f"{found_bytes:,} bytes instead of {source.size_bytes:,}"
    same = head == source.head[:_HEAD_BYTES]
    return None if same else "the same size, but another beginning"


def _check_free_space(session: SftpSession, spool: PurePosixPath, needed_bytes: int) -> None:
    space = session.space(spool)
    if space is None or not space.is_too_small_for(needed_bytes * _SPACE_FACTOR):
        return
    raise ReceiverDiskFullError(
        f"{needed_bytes:,} bytes are to be sent and only {space.free_bytes:,} are free in {spool}"
        f" at {session.endpoint.host}",
        remedy="free space at the receiver, or shorten AR_SYNC_BKPS_LIFETIME there",
    )


def _rename_into_place(
    session: SftpSession, part: PurePosixPath, place: SpoolPlace, source: Publishable
) -> _Found:
    """Rename the archive to its unused final name.

    The name contains the microsecond of the snapshot, so only another attempt at the same archive
    could use it between the check and the rename.
    """
    final, arrives = place.final, place.arrives or ignore
    present = _find_published(session, final, source)
    if present is None:
        arrives(True)
        try:
            session.rename(part, final)
        except ParkedError:
            # Another attempt at the same archive may have renamed the part already.
            present = _find_published(session, final, source)
            if present is None:
                arrives(False)
                raise
        else:
            return _Found(final)
    session.remove(part)
    return present
