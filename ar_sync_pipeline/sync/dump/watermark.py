"""From which point on the next archive must carry every change (design, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.clock import CLOCK_TOLERANCE
from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sync.dump.receiver_view import ReceiverView, observe_receiver
from ar_sync_pipeline.sync.dump.sent_archives import SentArchive, read_points, read_sent

_TICKS = timedelta(seconds=1)


@dataclass(frozen=True)
class StartingPoint:
    """What a dump must know of the archives before it.

    Attributes:
        since: from where a partial must carry every change; None: nobody knows, the window alone
            counts, and the next complete repairs.
        acknowledged: what the receiver itself says it has.
        after: the newest snapshot that was sent or that the receiver has.
        unacknowledged: archives of which the receiver should have said something by now.
        problems: what the receiver says and is not believed, one sentence each.
    """

    since: Watermark | None
    acknowledged: Watermark | None
    after: datetime | None
    unacknowledged: tuple[SentArchive, ...]
    problems: tuple[str, ...] = ()
    claimed: Watermark | None = None


def starting_point(settings: SenderSettings, now: datetime) -> StartingPoint:
    """Ask the receiver and the sender's own journal.

    Raises:
        TerminalError: the receiver cannot be asked and never will.
    """
    view = observe_receiver(settings, lambda: now)
    position = view.position
    sent = believable(read_sent(settings.tmp_bkp_fldr), view, now)
    since = newest_joined(view, sent) or view.held_before
    if since is None and view.problems:
        # Nothing that the receiver says can be used: rather carry too much than too little.
        known = read_points(settings.tmp_bkp_fldr)
        since = min(known, key=lambda point: point.snapshot_at, default=None)
    return StartingPoint(
        since=since,
        acknowledged=position.watermark if position else None,
        after=newest_snapshot(view, sent, now),
        unacknowledged=tuple(
            unacknowledged(view, sent, now, timedelta(minutes=settings.acknowledge_within))
        ),
        problems=view.problems,
        claimed=view.claimed,
    )


def believable(
    sent: Sequence[SentArchive], view: ReceiverView, now: datetime
) -> tuple[SentArchive, ...]:
    """Archives that are not dated in the future: of a clock that was set back since.

    The receiver does not apply such an archive before its time, and it must not date others.
    """
    limit = _latest_date(view, now)
    return tuple(a for a in sent if a.watermark.snapshot_at <= limit)


def newest_snapshot(
    view: ReceiverView, sent: Sequence[SentArchive], now: datetime
) -> datetime | None:
    """The newest snapshot that was sent or that the receiver has; the next one is dated after it.

    The names of the archives that wait in the spool count too, since the journal may be lost.

    Args:
        sent: what the sender remembers of its archives, as far as it is believable.
    """
    dated = [archive.watermark.snapshot_at for archive in sent]
    if view.position and view.position.watermark:
        dated.append(view.position.watermark.snapshot_at)
    names = map(ArchiveName.parse, view.waiting or ())
    waiting = [name.snapshot_at for name in names if name is not None]
    limit = _latest_date(view, now)
    return max((*dated, *(at for at in waiting if at <= limit)), default=None)


def _latest_date(view: ReceiverView, now: datetime) -> datetime:
    """The receiver parks what is dated later; what follows its position by an instant, it loads."""
    position = view.position.watermark if view.position else None
    latest = now + CLOCK_TOLERANCE
    return max(latest, position.snapshot_at + _TICKS) if position else latest


def newest_joined(view: ReceiverView, sent: Sequence[SentArchive]) -> Watermark | None:
    """The end of the chain that the receiver will hold once it has applied what waits in its spool.

    It starts where the receiver says that it stands. An archive that was sent and neither waits
    nor was acknowledged is lost or refused, so what it carried is sent again from there. A receiver
    that has never said anything is believed to apply what it was sent.

    Args:
        sent: what the sender remembers of its archives, in any order.
    """
    position = view.position
    end = position.watermark if position else None
    for archive in sorted(sent, key=lambda archive: archive.watermark.snapshot_at):
        arrives = archive.name in view.waiting if view.waiting is not None else position is None
        if not arrives or (end is not None and archive.watermark.snapshot_at <= end.snapshot_at):
            continue
        if archive.kind is ArchiveKind.COMPLETE or _joins(archive, end):
            end = archive.watermark
    return end


def unacknowledged(
    view: ReceiverView, sent: Sequence[SentArchive], now: datetime, within: timedelta
) -> list[SentArchive]:
    """Archives sent longer ago than that, of which the receiver has said nothing.

    What lies before the receiver's position is acknowledged too: a later complete has made it
    superfluous, or its receipt was cleared away long ago.
    """
    position = view.position
    reached = position.watermark.snapshot_at if position and position.watermark else None
    return [
        archive
        for archive in sent
        if now - archive.sent_at > within
        and archive.name not in view.receipts
        and (reached is None or archive.watermark.snapshot_at > reached)
    ]


def _joins(archive: SentArchive, end: Watermark | None) -> bool:
    return (
        end is not None
        and archive.since is not None
        and archive.since.snapshot_at <= end.snapshot_at
    )
