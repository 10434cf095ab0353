"""Point from which the next archive must contain every change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.settings.model import CompleteCarries, SenderSettings
from ar_sync_pipeline.sync.dump.believed_checkpoint import latest_date
from ar_sync_pipeline.sync.dump.choose_base import choose_base
from ar_sync_pipeline.sync.dump.kept_manifests import Base
from ar_sync_pipeline.sync.dump.receiver_view import ReceiverView, observe_receiver
from ar_sync_pipeline.sync.dump.sender_journal import (
    has_unknown,
    read_begun,
    read_points,
    read_sent,
    unknown_dates,
)
from ar_sync_pipeline.sync.dump.sender_journal_file import SentArchive
from ar_sync_pipeline.sync.dump.table_dump import Reported


@dataclass(frozen=True)
class StartingPoint:
    """What a dump must know of the archives before it.

    Attributes:
        since: Point from which a partial must contain every change; None: unknown, only the window
            counts, and the next complete repairs the gap.
        acknowledged: Point that the receiver itself reports.
        after: Time of the newest snapshot that was sent, is being dumped, or that the receiver has.
        unacknowledged: Archives that the receiver should have acknowledged by now.
        problems: What the receiver reports and is not accepted, one sentence each.
        never_sent: What the receiver has and this sender never sent, as a clause; empty: nothing.
        reported: What else it reports, to be compared with the database.
        base: Complete that the next one is compared with; None: it carries everything.
        is_loading: Whether the receiver says that a load is at work.
    """

    since: Watermark | None
    acknowledged: Watermark | None
    after: datetime | None
    unacknowledged: tuple[SentArchive, ...]
    problems: tuple[str, ...] = ()
    never_sent: str = ""
    reported: Reported = field(default_factory=Reported)
    base: Base | None = None
    is_loading: bool = False


def starting_point(settings: SenderSettings, now: datetime) -> StartingPoint:
    """Read the receiver's reports and the sender's own journal, and return the starting point.

    Raises:
        TerminalError: The receiver cannot be read, and a retry does not help.
        TransientError: It cannot be read, and the sender knows nothing of it yet.
    """
    view = observe_receiver(settings, lambda: now)
    checkpoint = view.checkpoint
    known = read_points(settings.tmp_bkp_fldr)
    if view.failure is not None and checkpoint is None and not known:
        # The database and the scratch folder may have been restored; only the receiver shows it.
        raise view.failure
    sent = believable(read_sent(settings.tmp_bkp_fldr), view, now)
    since = newest_joined(view, sent) or view.held_before
    if since is None and view.problems:
        # No report of the receiver can be used: too many changes are better than too few.
        since = min(known, key=lambda point: point.snapshot_at, default=None)
    return StartingPoint(
        since=since,
        acknowledged=checkpoint.watermark if checkpoint else None,
        after=newest_snapshot(view, sent, now, read_begun(settings.tmp_bkp_fldr)),
        unacknowledged=tuple(
            unacknowledged(view, sent, now, timedelta(minutes=settings.acknowledge_within))
        ),
        problems=view.problems,
        never_sent=never_sent_in_words(unknown_archives(settings.tmp_bkp_fldr, view, now), view),
        reported=Reported(
            claimed=view.claimed,
            has_unknown=view.lost_checkpoint
            or has_unknown(settings.tmp_bkp_fldr, view.dates, since, latest_date(checkpoint, now)),
            unread=view.failure is not None,
            free_bytes=view.free_bytes,
        ),
        base=choose_base(settings.tmp_bkp_fldr, view)
        if settings.complete_carries is CompleteCarries.CHANGES
        else None,
        is_loading=view.is_loading,
    )


def unknown_archives(scratch: Path, view: ReceiverView, now: datetime) -> tuple[datetime, ...]:
    """Return the snapshots of the receiver's archives that this sender should know.

    They count until the receiver's checkpoint is later, which a complete ensures, and not only
    until a partial waits that starts from it. One that waits or is parked counts until it does not
    any more: a complete that is older than the checkpoint would still replace the rows.
    """
    since = (view.checkpoint.watermark if view.checkpoint else None) or view.held_before
    until = latest_date(view.checkpoint, now)
    known = unknown_dates(scratch, view.dates, since, until)
    unapplied = [name.snapshot_at for name in _unapplied(view)]
    return tuple(sorted({*known, *unknown_dates(scratch, unapplied, None, until)}))


def _unapplied(view: ReceiverView) -> list[ArchiveName]:
    """Return what waits or is parked at the receiver now."""
    if view.waiting is None:
        return []
    parked = [one.archive for one in view.checkpoint.parked] if view.checkpoint else []
    return [*filter(None, map(ArchiveName.parse, (*view.waiting, *parked)))]


def never_sent_in_words(unknown: Sequence[datetime], view: ReceiverView) -> str:
    """Return what the receiver has and this sender never sent, as a clause; empty: nothing."""
    if not unknown:
        return ""
    many = f"{len(unknown)} archives" if len(unknown) > 1 else "an archive"
    # A receiver whose point no partial can start from may still convert the old system's archives.
    may_be_old = view.checkpoint is not None and view.checkpoint.watermark is None
    old = " (the old one, if its cron lines are left)" if may_be_old else ""
    return (
        f"the receiver has {many} that this sender never sent (the newest is of"
        f" {unknown[-1]:%Y-%m-%d %H:%M:%S} UTC): another sender{old} publishes into this spool, or"
        " this one was restored from a backup"
    )


def believable(
    sent: Sequence[SentArchive], view: ReceiverView, now: datetime
) -> tuple[SentArchive, ...]:
    """Return archives that are not dated in the future, by a clock that was set back since.

    The receiver does not apply such an archive before its time, and other archives must not be
    dated after it.
    """
    limit = latest_date(view.checkpoint, now)
    return tuple(a for a in sent if a.watermark.snapshot_at <= limit)


def newest_snapshot(
    view: ReceiverView,
    sent: Sequence[SentArchive],
    now: datetime,
    begun: Sequence[datetime] = (),
) -> datetime | None:
    """Return the newest snapshot that was sent or that the receiver has; the next one is later.

    The names of the archives that wait in the spool count too, since the journal may be lost.

    Args:
        sent: Archives in the sender's journal, as far as they are believable.
        begun: Snapshots of dumps in progress; a clock that was set back would date this one before.
    """
    dated = [archive.watermark.snapshot_at for archive in sent]
    if view.checkpoint and view.checkpoint.reached_at:
        dated.append(view.checkpoint.reached_at)
    names = map(ArchiveName.parse, view.waiting or ())
    waiting = [name.snapshot_at for name in names if name is not None]
    limit = latest_date(view.checkpoint, now)
    return max((*dated, *(at for at in (*waiting, *begun) if at <= limit)), default=None)


def newest_joined(view: ReceiverView, sent: Sequence[SentArchive]) -> Watermark | None:
    """Return the end of the receiver's chain after it has applied what waits in its spool.

    The chain starts at the receiver's checkpoint. An archive that was sent and neither waits nor
    was acknowledged is lost or refused, so its changes are sent again from there. The receiver may
    lack what a waiting differential complete does not carry, so no partial starts from that one. A
    receiver without any report is assumed to apply what was sent.

    Args:
        sent: Archives in the sender's journal, in any order.
    """
    checkpoint = view.checkpoint
    end = checkpoint.watermark if checkpoint else None
    for archive in sorted(sent, key=lambda archive: archive.watermark.snapshot_at):
        arrives = archive.name in view.waiting if view.waiting is not None else checkpoint is None
        if not arrives or (end is not None and archive.watermark.snapshot_at <= end.snapshot_at):
            continue
        whole = archive.kind is ArchiveKind.COMPLETE and not archive.differential
        if whole or _joins(archive, end):
            end = archive.watermark
    return end


def unacknowledged(
    view: ReceiverView, sent: Sequence[SentArchive], now: datetime, within: timedelta
) -> list[SentArchive]:
    """Return archives sent longer ago than ``within`` that the receiver has not acknowledged.

    Archives before the receiver's checkpoint count as acknowledged: a later complete made them
    superfluous, or their receipts were deleted long ago. Later partials make none superfluous: one
    that still waits is not loaded.
    """
    checkpoint = view.checkpoint
    reached = checkpoint.reached_at if checkpoint else None
    return [
        archive
        for archive in sent
        if now - archive.sent_at > within
        and archive.name not in view.receipts
        and (
            reached is None
            or archive.watermark.snapshot_at > reached
            or (archive.kind is ArchiveKind.COMPLETE and archive.name in (view.waiting or ()))
        )
    ]


def _joins(archive: SentArchive, end: Watermark | None) -> bool:
    return (
        end is not None
        and archive.since is not None
        and archive.since.snapshot_at <= end.snapshot_at
    )
