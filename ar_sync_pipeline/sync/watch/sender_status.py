"""The lag of the receiver, as the sender sees it over SFTP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.receipts import REMEMBERED
from ar_sync_pipeline.sync.dump.receiver_view import FINAL, ReceiverView, observe_receiver
from ar_sync_pipeline.sync.dump.sender_journal import read_sent
from ar_sync_pipeline.sync.dump.sender_journal_file import SentArchive
from ar_sync_pipeline.sync.dump.starting_point import (
    believable,
    never_sent_in_words,
    unacknowledged,
    unknown_archives,
)
from ar_sync_pipeline.sync.rejection import Rejection, by_cause, most_urgent_first
from ar_sync_pipeline.sync.watch.arrived_archives import (
    Arrived,
    at_possible_times,
    complete_due_within,
    newest_of_each_kind,
    overdue_in_words,
    overdue_since,
)
from ar_sync_pipeline.sync.watch.disk_space import low_disks
from ar_sync_pipeline.sync.watch.lag import A_WINDOW_NEEDS, Backlog, count_newer, explain_lag
from ar_sync_pipeline.sync.watch.open_incidents import read_open_incidents
from ar_sync_pipeline.sync.watch.status import NEVER_SENT, StateCount, Status, count, each_once


def sender_status(settings: SenderSettings, now: datetime) -> Status:
    """Read the sender's journal and incidents, and over SFTP the receiver's checkpoint and spool.

    Raises:
        TerminalError: The host key, the login or the spool is wrong.
    """
    view, sent = observe_receiver(settings, lambda: now), read_sent(settings.tmp_bkp_fldr)
    incidents, reported = read_open_incidents(settings), _reported(view, now)
    interval = timedelta(minutes=settings.partial_interval)
    within = timedelta(minutes=settings.acknowledge_within)
    late = unacknowledged(view, sent, now, within)
    dated = believable(sent, view, now)
    arrived = [_arrived(one) for one in dated]
    remembered = now - REMEMBERED
    unknown = unknown_archives(settings.tmp_bkp_fldr, view, now)
    possible = at_possible_times(arrived, now)
    overdue = overdue_since(possible, complete_due_within(settings, now), remembered)
    low = low_disks(settings)
    others = never_sent_in_words(unknown, view)
    faults = [*([others] if others else []), *overdue_in_words(overdue), *low, *incidents.faults]
    until = reported.reached_at
    waiting = _without(unknown, _waiting(view, sent, until))
    all_parked = _parked(reported)
    own = _without(unknown, [one.name for one in all_parked])
    parked = [one for one in all_parked if one.name in own]
    foreign = [one for one in all_parked if one.name not in own]
    backlog = _backlog(view, reported, waiting, parked, dated, late, faults)
    lag = explain_lag(until, now, interval, backlog)
    return Status(
        "sender",
        lag,
        (
            count(
                "sent", [a.name for a in sent if a.sent_at > remembered], "those of the last days"
            ),
            count("not acknowledged", [a.name for a in late]),
            *([_not_believed(view.problems)] if view.problems else []),
            *([_never_sent(unknown, [others, *_clauses(foreign)])] if others else []),
            count("waiting", waiting),
            count(
                "parked",
                [one.name for one in parked],
                each_once(_clauses(parked)),
                earlier=reported.more_parked,
            ),
            StateCount(
                "quarantined",
                reported.quarantined,
                note="`ar-sync status` at the receiver says which and why"
                if reported.quarantined
                else "",
            ),
        ),
        link_is_up=view.waiting is not None,
        gaps=reported.gaps,
        unsent=reported.unsent,
        unverified=reported.unverified,
        is_late=until is None or now - until > max(within, A_WINDOW_NEEDS) + interval,
        newest=newest_of_each_kind(arrived),
        overdue_complete=overdue,
        known_at=view.checkpoint.at if view.checkpoint else None,
        incidents=incidents,
        low_disks=low,
    )


def _arrived(sent: SentArchive) -> Arrived:
    snapshot_at = sent.watermark.snapshot_at
    return Arrived(sent.name, sent.kind, snapshot_at, sent.sent_at, sent.size_bytes)


def _reported(view: ReceiverView, now: datetime) -> Checkpoint:
    """Return the receiver's checkpoint; one without findings if it never wrote one."""
    return view.checkpoint or Checkpoint(at=now)


def _backlog(
    view: ReceiverView,
    reported: Checkpoint,
    waiting: Sequence[str],
    parked: Sequence[Rejection],
    sent: Sequence[SentArchive],
    late: Sequence[SentArchive],
    faults: Sequence[str],
) -> Backlog:
    unknown = ["the receiver's report is not believed"] if view.problems else []
    unknown += ["the link is down"] if view.waiting is None else []
    faults = [*unknown, *faults]
    if late:
        said = f"{len(late)} archive{'s are' if len(late) > 1 else ' is'} not acknowledged"
        loading = " while the receiver says that a load is at work" if view.is_loading else ""
        faults.append(said + loading)
    reached = reported.reached_at
    unreported = [a for a in sent[-1:] if reached is None or a.watermark.snapshot_at > reached]
    return Backlog(
        gaps=reported.gaps,
        waiting=len(waiting),
        newer=count_newer(filter(None, map(ArchiveName.parse, waiting)), reached),
        parked=[one.clause for one in most_urgent_first(parked, reached)],
        more_parked=reported.more_parked,
        quarantined=reported.quarantined,
        unsent=reported.unsent,
        unverified=reported.unverified,
        more_unverified=reported.more_unverified,
        nothing_newer=_nothing_newer(unreported),
        unreported=view.checkpoint is None and (view.waiting is None or bool(view.problems)),
        is_overtaken=not unreported,
        is_known=not unknown,
        faults=faults,
    )


def _waiting(
    view: ReceiverView, sent: Sequence[SentArchive], reached: datetime | None
) -> list[str]:
    """Return what waits in the spool, without what a killed load has applied and not renamed.

    A receipt of what a restored receiver has not applied any more does not count.
    """
    applied = {
        one.name
        for one in sent
        if one.state in FINAL and reached is not None and one.watermark.snapshot_at <= reached
    }
    return sorted((view.waiting or frozenset()) - applied)


def _without(unknown: Sequence[datetime], archives: Iterable[str]) -> list[str]:
    """Return the archives that are not those of another sender."""
    parsed = ((name, ArchiveName.parse(name)) for name in archives)
    return [name for name, known in parsed if known is None or known.snapshot_at not in unknown]


def _never_sent(unknown: Sequence[datetime], notes: Sequence[str]) -> StateCount:
    return StateCount(NEVER_SENT, len(unknown), note=each_once(notes))


def _clauses(rejections: Iterable[Rejection]) -> list[str]:
    return [cause.clause for cause in by_cause(rejections)]


def _parked(reported: Checkpoint) -> list[Rejection]:
    unknown = "it is parked for a reason that is not known"
    return [
        Rejection(one.archive, one.reason or unknown, remedy="", code="", waits=True)
        for one in reported.parked
    ]


def _nothing_newer(unreported: Sequence[SentArchive]) -> str:
    """Return what became of the newest archive, if the receiver lacks the last window."""
    for newest in unreported:
        at = f"{newest.sent_at:%Y-%m-%d %H:%M} UTC"
        return f"the receiver has not reported the newest archive, published at {at}, as applied"
    return "no newer archive was published"


def _not_believed(problems: Sequence[str]) -> StateCount:
    return StateCount("not believed", len(problems), note="; ".join(problems))
