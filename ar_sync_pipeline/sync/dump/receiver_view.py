"""The sender's view of the receiver over SFTP: its checkpoint, its receipts, its spool.

The receiver writes all of it: what is damaged, badly signed or impossible is reported, and the last
accepted checkpoint is used instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveKind, ArchiveName
from ar_sync_pipeline.archive.spool_names import ARCHIVE_FOLDERS, RECEIPTS
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.disk_errors import disk_error
from ar_sync_pipeline.errors import ArSyncError, TransientError
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sftp.errors import (
    ReceiverDiskFullError,
    RefusedByServerError,
    RemoteFileMissingError,
    RemoteFileTooLargeError,
    SpoolNotWritableError,
)
from ar_sync_pipeline.sftp.limits import SessionLimits
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline.sftp.spool_folders import list_names, prepare_spool, read_small_file
from ar_sync_pipeline.spool.capabilities import Capabilities
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.errors import ReceiptError
from ar_sync_pipeline.spool.load_at_work import LoadAtWork
from ar_sync_pipeline.spool.receipts import RECEIPT_SUFFIX, Receipt, ReceiptState, parse_receipt
from ar_sync_pipeline.spool.signed_json import MAX_BYTES
from ar_sync_pipeline.sync.dump.believed_checkpoint import (
    checkpoint_problem,
    is_of_old_system,
    receipt_problem,
)
from ar_sync_pipeline.sync.dump.last_view import (
    CACHED_CAPABILITIES,
    CACHED_CHECKPOINT,
    believed_before,
    capabilities_before,
    current,
)
from ar_sync_pipeline.sync.dump.publish import endpoint
from ar_sync_pipeline.sync.dump.scratch_owner import claim_scratch
from ar_sync_pipeline.sync.dump.sender_journal import (
    SentArchive,
    read_points,
    read_sent,
    remember_receipts,
)

_FINAL = frozenset({ReceiptState.APPLIED, ReceiptState.SUPERSEDED})
# Reading the receiver only makes a partial smaller; the publication waits for a broken link.
LIMITS = SessionLimits(silence_seconds=20, whole_seconds=30)
# A receipt is read once, so there are as many as archives since the last dump.
MOST_RECEIPTS = 50
_Refused = (
    ReceiptError,
    ReceiverDiskFullError,
    RefusedByServerError,
    RemoteFileTooLargeError,
    SpoolNotWritableError,
)


@dataclass(frozen=True)
class ReceiverView:
    """The receiver as the sender sees it.

    Attributes:
        checkpoint: Checkpoint of the receiver; None: it never wrote one.
        waiting: Applied-form names of the archives that wait in the spool; None: the link is down
            and the checkpoint is the last one that was read.
        receipts: Applied-form names of the archives with a receipt.
        problems: What it wrote and was not accepted, one sentence each.
        held_before: Last point that was accepted, whatever the receiver reports now.
        claimed: Point that it claims to have and that is not accepted; the database may have known
            it before it was restored, together with this side's journal.
        capabilities: What it can read; None: it is of an earlier version, or unknown.
        failure: Why the spool could not be read; None: it was.
        is_loading: Whether it says that a load is at work on what waits.
    """

    checkpoint: Checkpoint | None
    waiting: frozenset[str] | None
    receipts: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()
    held_before: Watermark | None = None
    claimed: Watermark | None = None
    capabilities: Capabilities | None = None
    failure: TransientError | None = None
    is_loading: bool = False


def observe_receiver(settings: SenderSettings, clock: Clock) -> ReceiverView:
    """Read the spool; if the link is down, return what was read last.

    An old checkpoint only makes a partial larger, so a broken link is no reason not to dump: the
    archive is sent as soon as the link is back.

    Raises:
        TerminalError: The host key, the login or the spool is wrong, or the scratch folder belongs
            to another receiver; publishing would fail too.
    """
    scratch = settings.tmp_bkp_fldr
    cache = scratch / CACHED_CHECKPOINT
    known, sent = read_points(scratch), read_sent(scratch)
    heard = frozenset(archive.name for archive in sent if archive.heard)
    files = _ReceiverFiles(settings, clock())
    try:
        claim_scratch(settings, endpoint(settings), LIMITS)
        with open_session(endpoint(settings), LIMITS) as session:
            prepare_spool(session, settings.remote_bkp_fldr)
            waiting = files.waiting(session)
            content = files.checkpoint_file(session)
            # After the checkpoint, before which the receiver writes it.
            can_read = files.capabilities(session)
            checkpoint = files.believed(content, known, clock()) if content is not None else None
            is_loading = bool(waiting) and files.is_loading(session, clock())
            new = files.receipts(session, unsettled(sent, checkpoint))
    except TransientError as error:
        before = believed_before(cache, known, clock())
        said = current(capabilities_before(scratch), before)
        return ReceiverView(before, None, heard, capabilities=said, failure=error)
    before = believed_before(cache, known, clock())
    with _where_the_disk_allows():
        if new:
            remember_receipts(scratch, new)
        # In this order: a checkpoint newer than what can be read is of an earlier version.
        if can_read is not None:
            write_atomically(scratch / CACHED_CAPABILITIES, can_read.to_bytes())
        if checkpoint is not None and checkpoint.watermark is not None:
            write_atomically(cache, checkpoint.to_bytes())
    return ReceiverView(
        checkpoint or before,
        waiting,
        heard | new.keys(),
        tuple(files.problems),
        held_before=before.watermark if before else None,
        claimed=files.claimed,
        capabilities=current(can_read, checkpoint or before),
        is_loading=is_loading,
    )


@contextmanager
def _where_the_disk_allows() -> Iterator[None]:
    """Let a reading command succeed on a full disk: what it could not store is read again."""
    try:
        yield
    except OSError as error:
        if disk_error(error) is None:
            raise


def unsettled(sent: Sequence[SentArchive], checkpoint: Checkpoint | None) -> list[SentArchive]:
    """Return archives whose receipts are read: unheard ones, and completes that may change.

    An applied complete after the checkpoint is one of a receiver that was restored from a backup.
    """
    reached = checkpoint.watermark.snapshot_at if checkpoint and checkpoint.watermark else None
    return [
        archive
        for archive in sent
        if not archive.heard
        or (
            archive.kind is ArchiveKind.COMPLETE
            and (
                archive.state not in _FINAL
                or reached is None
                or archive.watermark.snapshot_at > reached
            )
        )
    ]


class _ReceiverFiles:
    """What a sender reads of the receiver's files, and the problems found in them."""

    def __init__(self, settings: SenderSettings, now: datetime) -> None:
        self._keys = settings.signing_keys.accepted(now)
        self._spool = settings.remote_bkp_fldr
        self._folder = self._spool / RECEIPTS
        self.problems: list[str] = []
        self.claimed: Watermark | None = None

    def checkpoint_file(self, session: SftpSession) -> bytes | None:
        """Return the bytes of the checkpoint in the spool."""
        return self._read(session, self._folder / Checkpoint.FILE)

    def believed(
        self, content: bytes, known: Sequence[Watermark], now: datetime
    ) -> Checkpoint | None:
        """Return the checkpoint if it is the receiver's and possible."""
        try:
            checkpoint = Checkpoint.parse(content, signing_keys=self._keys)
        except ReceiptError as error:
            self.problems.append(_clause(error))
            return None
        point = checkpoint.watermark
        if point is None:
            return checkpoint
        if is_of_old_system(point):
            return checkpoint.model_copy(update={"watermark": None})
        problem = checkpoint_problem(point, known, now)
        if problem is None:
            return checkpoint
        self.claimed = point
        self.problems.append(
            f"the receiver's checkpoint is not believed, because it {problem}: delete"
            f" {RECEIPTS}/{Checkpoint.FILE} at the receiver, whose next run writes it again, and"
            " start a complete_dump"
        )
        return None

    def capabilities(self, session: SftpSession) -> Capabilities | None:
        """Return what the receiver can read; None if it does not say so in an accepted file."""
        content = self._read(session, self._folder / Capabilities.FILE)
        if content is None:
            return None
        try:
            return Capabilities.parse(content, signing_keys=self._keys)
        except ReceiptError as error:
            self.problems.append(_clause(error))
            return None

    def is_loading(self, session: SftpSession, now: datetime) -> bool:
        """Return whether the receiver says in an accepted file that a load is at work."""
        content = self._read(session, self._folder / LoadAtWork.FILE)
        # What is wrong with this file delays no alert, and is wrong with the others, too.
        with suppress(ReceiptError):
            if content is not None:
                return LoadAtWork.parse(content, signing_keys=self._keys).is_recent(now)
        return False

    def receipts(self, session: SftpSession, archives: Sequence[SentArchive]) -> dict[str, Receipt]:
        """Return accepted receipts by archive name; completes and the newest are read first.

        If the link breaks or the time is up, the others are left to the next dump: after a backlog
        they need more round trips than a slow link allows.
        """
        found = dict[str, Receipt]()
        with suppress(TransientError):
            there = set(self._names(session, self._folder))
            newest = [a for a in reversed(archives) if a.name + RECEIPT_SUFFIX in there]
            newest.sort(key=lambda archive: archive.kind is not ArchiveKind.COMPLETE)
            for archive in newest[:MOST_RECEIPTS]:
                receipt = self._receipt(session, archive)
                if receipt is not None:
                    found[archive.name] = receipt
        return found

    def waiting(self, session: SftpSession) -> frozenset[str]:
        """Return the applied-form names of the waiting archives in folders that can be listed.

        What is in the others counts as lost, so that a partial is only larger. So does an archive
        in the folder of the other kind, which old receivers do not load.
        """
        found = (
            (folder, ArchiveName.parse(name))
            for folder in ARCHIVE_FOLDERS
            for name in self._names(session, self._spool / folder)
            if name.startswith(WAITING_PREFIX)
        )
        return frozenset(
            name.applied for folder, name in found if name is not None and name.kind == folder
        )

    def _names(self, session: SftpSession, folder: PurePosixPath) -> list[str]:
        try:
            return list_names(session, folder)
        except _Refused as error:
            self.problems.append(_clause(error))
            return []

    def _receipt(self, session: SftpSession, archive: SentArchive) -> Receipt | None:
        path = self._folder / (archive.name + RECEIPT_SUFFIX)
        content = self._read(session, path)
        if content is None:
            return None
        try:
            receipt = parse_receipt(content, signing_keys=self._keys)
        except ReceiptError as error:
            self.problems.append(f"{archive.name}: {_clause(error)}")
            return None
        problem = receipt_problem(receipt, archive)
        if problem is not None:
            self.problems.append(
                f"the receipt of {archive.name} is not believed, because it {problem}: delete"
                f" {RECEIPTS}/{path.name} at the receiver, whose next run writes it again"
            )
        return receipt if problem is None else None

    def _read(self, session: SftpSession, path: PurePosixPath) -> bytes | None:
        try:
            return read_small_file(session, path, MAX_BYTES)
        except RemoteFileMissingError:
            return None
        except _Refused as error:
            self.problems.append(_clause(error))
            return None


def _clause(error: ArSyncError) -> str:
    """Return problem and remedy without a full stop: it is added where problems are shown."""
    return f"{error.problem}: {error.remedy}"
