"""The sender's view of the receiver over SFTP: its checkpoint, its receipts, its spool.

The receiver writes all of it: what is damaged, badly signed or impossible is reported, and the last
accepted checkpoint is used instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.disk_errors import disk_error
from ar_sync_pipeline.errors import TransientError
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sftp.limits import SessionLimits
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.spool_folders import prepare_spool
from ar_sync_pipeline.spool.capabilities import Capabilities
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.receipts import ReceiptState
from ar_sync_pipeline.sync.dump.last_view import (
    CACHED_CAPABILITIES,
    CACHED_CHECKPOINT,
    believed_before,
    capabilities_before,
    current,
)
from ar_sync_pipeline.sync.dump.receiver_files import ReceiverFiles
from ar_sync_pipeline.sync.dump.scratch_owner import claim_scratch
from ar_sync_pipeline.sync.dump.sender_endpoint import endpoint
from ar_sync_pipeline.sync.dump.sender_journal import read_points, read_sent, remember_receipts
from ar_sync_pipeline.sync.dump.sender_journal_file import SentArchive

FINAL = frozenset({ReceiptState.APPLIED, ReceiptState.SUPERSEDED})
"""States in which an archive no longer waits."""
# Reading the receiver only makes a partial smaller; the publication waits for a broken link.
LIMITS = SessionLimits(silence_seconds=20, whole_seconds=30)


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
        dates: Snapshots of the archives that are in its spool or have a receipt, except for
            quarantined ones.
        capabilities: What it can read; None: it is of an earlier version, or unknown.
        failure: Why the spool could not be read; None: it was.
        is_loading: Whether it says that a load is at work on what waits.
        free_bytes: Free space of the spool in bytes; None: it is not known.
        lost_checkpoint: Whether its spool was lost (`ReceiverFiles.is_lost`): it shows nothing of
            what the receiver has.
    """

    checkpoint: Checkpoint | None
    waiting: frozenset[str] | None
    receipts: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()
    held_before: Watermark | None = None
    claimed: Watermark | None = None
    dates: frozenset[datetime] = frozenset()
    capabilities: Capabilities | None = None
    failure: TransientError | None = None
    is_loading: bool = False
    free_bytes: int | None = None
    lost_checkpoint: bool = False


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
    files = ReceiverFiles(settings, clock())
    try:
        claim_scratch(settings, endpoint(settings), LIMITS)
        with open_session(endpoint(settings), LIMITS) as session:
            prepare_spool(session, settings.remote_bkp_fldr)
            waiting = files.waiting(session)
            content = files.checkpoint_file(session)
            # After the checkpoint, before which the receiver writes it.
            can_read = files.capabilities(session)
            checkpoint = files.believed(content, known, clock()) if content is not None else None
            space = session.space(settings.remote_bkp_fldr)
            is_loading = bool(waiting) and files.is_loading(session, clock())
            new = files.receipts(session, unsettled(sent, checkpoint))
            reached = checkpoint.watermark if checkpoint is not None else None
            files.leave_out_quarantined(session, {point.snapshot_at for point in known}, reached)
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
        dates=files.dates,
        capabilities=current(can_read, checkpoint or before),
        is_loading=is_loading,
        free_bytes=space.free_bytes if space is not None else None,
        lost_checkpoint=files.is_lost(before, sent),
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
    reached = checkpoint.reached_at if checkpoint else None
    return [
        archive
        for archive in sent
        if not archive.heard
        or (
            archive.kind is ArchiveKind.COMPLETE
            and (
                archive.state not in FINAL
                or reached is None
                or archive.watermark.snapshot_at > reached
            )
        )
    ]
