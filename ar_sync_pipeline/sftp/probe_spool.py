"""Second half of the connectivity check: what the account may do in the spool."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import pairwise
from pathlib import PurePosixPath

from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.archive.spool_names import ARCHIVE_FOLDERS, INCOMING, RECEIPTS
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.files import FreeSpace
from ar_sync_pipeline.sftp import protocol
from ar_sync_pipeline.sftp.errors import RefusedByServerError
from ar_sync_pipeline.sftp.probe_steps import Finding, StepRecord
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline.sftp.spool_folders import (
    check_made_by_receiver,
    check_spool,
    list_names,
    prepare_spool,
    read_small_file,
)

_TEST_FILE_BYTES = 256 * 1024
_CLOCK_TOLERANCE_SECONDS = 60
_LITTLE_FREE_BYTES = 10**9
_RECEIPT_BYTES = 64 * 1024
_FORGOTTEN_SECONDS = 3600
_PREFIX, _SUFFIX = ".probe.", ".part"


def check_the_spool(
    record: StepRecord,
    session: SftpSession,
    spool: PurePosixPath,
    clock: Clock,
    judge_receipt: Callable[[str, bytes], None] | None,
    free_floor_percent: float,
    read_also: Collection[str],
) -> None:
    """Publish a test file in the spool like an archive.

    The file is always hidden or in ``.incoming``, so nobody takes it for an archive. Its renames
    also reveal a folder on another file system.
    """
    with record.step("spool exists") as found:
        check_spool(session, spool)
        check_made_by_receiver(session, spool)
        found.append(Finding(f"{spool} is a folder"))
    made = list[PurePosixPath]()
    try:
        written_at = _walk(record, session, spool, clock, made)
        with record.step("free space") as found:
            found.append(_judge_free_space(session.space(spool), free_floor_percent))
        with record.step("clock difference") as found:
            found.append(_judge_clock(*written_at))
        with record.step("receipts readable") as found:
            found.append(_read_receipts(session, spool, judge_receipt, read_also))
    finally:
        for folder in reversed(made):
            with suppress(ArSyncError):
                session.remove_folder(folder)


def _walk(
    record: StepRecord,
    session: SftpSession,
    spool: PurePosixPath,
    clock: Clock,
    made: list[PurePosixPath],
) -> tuple[int | None, float]:
    """Write the test file and rename it like an archive.

    Args:
        session: Open session.
        spool: Path of the spool.
        record: Record of the steps.
        made: List to which created folders are added.

    Returns:
        The time of the write by the receiver's clock, and by this machine's clock.
    """
    test = _TestFile(session, spool)
    try:
        with record.step("spool writable") as found:
            prepare_spool(session, spool, made)
            found.append(test.write())
            written_at = (session.modified_at_seconds(test.places[0]), clock().timestamp())
        with record.step("round trip") as found:
            found.append(test.round_trip())
    finally:
        # The operator needs the first error, not a later one of the clean-up.
        with suppress(ArSyncError):
            test.remove()
    return written_at


class _TestFile:
    """A file that is written, read back, renamed through the archive folders and removed."""

    def __init__(self, session: SftpSession, spool: PurePosixPath) -> None:
        self._session = session
        self._content = secrets.token_bytes(_TEST_FILE_BYTES)
        self._folders = [spool / folder for folder in ARCHIVE_FOLDERS]
        name = f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        self.places = [spool / INCOMING / name, *(folder / name for folder in self._folders)]

    def write(self) -> Finding:
        """Write and flush the file; the rate covers the first byte to the flush."""
        started, path, block = time.monotonic(), self.places[0], protocol.WRITE_BLOCK_BYTES
        with self._session.handle(path, protocol.NEW) as handle:
            with self._session.operation("writing", path):
                pipe = protocol.RequestPipe(self._session.client)
                for offset in range(0, _TEST_FILE_BYTES, block):
                    data = self._content[offset : offset + block]
                    protocol.send_write(pipe, handle, offset, data)
                while len(pipe):
                    protocol.confirm_write(pipe)
            synced = self._session.sync(handle, path, _TEST_FILE_BYTES)
        seconds = max(time.monotonic() - started, 1e-6)
        detail = f"a test file of {_TEST_FILE_BYTES:,} bytes was written"
        figures = {"write_mb_per_second": _TEST_FILE_BYTES / 1e6 / seconds}
        if synced:
            return Finding(f"{detail} and flushed to disk", figures=figures)
        return Finding(
            f"{detail}, but the server cannot flush to disk (fsync@openssh.com)",
            "do nothing, the receiver checks every archive; OpenSSH's server would flush",
            figures,
        )

    def round_trip(self) -> Finding:
        """Read the file back, rename it like an archive, and remove it."""
        session, path = self._session, self.places[0]
        with session.handle(path, protocol.READ) as handle, session.operation("reading back", path):
            found = protocol.read_range(session.client, handle, 0, _TEST_FILE_BYTES)
        if found != self._content:
            raise RefusedByServerError(
                f"{path} at {session.endpoint.host} reads back other bytes than were written",
                remedy="check the receiver's disk and file system",
            )
        for source, target in pairwise(self.places):
            session.rename(source, target)
        self.remove()
        self._remove_forgotten()
        shortest = session.round_trip_seconds
        return Finding(
            f"it was read back, renamed and removed; an answer takes {1000 * shortest:.1f} ms",
            figures={"round_trip_ms": 1000 * shortest},
        )

    def remove(self) -> None:
        """Remove the file under any of its names."""
        for place in self.places:
            self._session.remove(place)

    def _remove_forgotten(self) -> None:
        """Remove hidden files of a check that was killed between two renames."""
        newest = self._session.modified_at_seconds(self._folders[0]) or 0
        for folder in self._folders:
            for name in self._session.file_names(folder):
                if name.startswith(_PREFIX) and name.endswith(_SUFFIX) and "/" not in name:
                    written = self._session.modified_at_seconds(folder / name)
                    if written is not None and written < newest - _FORGOTTEN_SECONDS:
                        self._session.remove(folder / name)


def _read_receipts(
    session: SftpSession,
    spool: PurePosixPath,
    judge: Callable[[str, bytes], None] | None,
    read_also: Collection[str],
) -> Finding:
    names = list_names(session, spool / RECEIPTS)
    # The folder has other files of the receiver, too.
    made = {name: found.snapshot_at for name in names if (found := _archive_of(name))}
    newest = max(made, key=made.__getitem__, default=None)
    for name in (*(one for one in names if one in read_also), *([newest] if newest else [])):
        content = read_small_file(session, spool / RECEIPTS / name, _RECEIPT_BYTES)
        if judge is not None:
            judge(name, content)
    figures = {"receipts": float(len(made))}
    if newest is None:
        return Finding("there is no receipt yet; the first load writes one", figures=figures)
    are = "receipt is" if len(made) == 1 else "receipts are"
    return Finding(f"{len(made)} {are} there, {newest} can be read", figures=figures)


def _archive_of(receipt: str) -> ArchiveName | None:
    """Return the archive that a file of this name is the receipt of; None if it is no receipt."""
    name = PurePosixPath(receipt)
    return ArchiveName.parse(name.stem) if name.suffix == ".json" else None


def _judge_free_space(space: FreeSpace | None, floor_percent: float) -> Finding:
    if space is None:
        return Finding(
            "the server cannot tell its free space (statvfs@openssh.com)",
            "watch the free space at the receiver; OpenSSH's server would tell it",
        )
    detail = f"{space.free_bytes:,} bytes are free, {space.free_percent:.1f} %"
    figures = {"free_gb": space.free_bytes / 1e9, "free_percent": space.free_percent}
    if space.is_below(floor_percent):
        remedy = f"free space at the receiver, less than {floor_percent:g} % is free"
        return Finding(detail, remedy, figures)
    if space.free_bytes < _LITTLE_FREE_BYTES:
        # However large a share of a small disk it is.
        detail = f"only {space.free_bytes:,} bytes are free"
        return Finding(detail, "make sure that two complete archives fit", figures)
    return Finding(detail, figures=figures)


def _judge_clock(modified_at_seconds: int | None, local_seconds: float) -> Finding:
    if modified_at_seconds is None:
        return Finding("the server does not tell when a file was written")
    # SFTP version 3 has file times in whole seconds.
    difference = modified_at_seconds + 0.5 - local_seconds
    detail = f"the receiver's clock differs by {round(difference):+d} s"
    figures = {"clock_difference_seconds": difference}
    if abs(difference) > _CLOCK_TOLERANCE_SECONDS:
        remedy = "set both clocks with NTP; lags that are shown are off by this"
        return Finding(detail, remedy, figures)
    return Finding(detail, figures=figures)
