"""The lag of the receiver, and its reason: one number and one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.clock import CLOCK_TOLERANCE
from ar_sync_pipeline.sync.load.missing_parts import missing_in_words
from ar_sync_pipeline.sync.load.unsent_tables import unsent_in_words
from ar_sync_pipeline.sync.load.unverified_tables import unverified_in_words
from ar_sync_pipeline.visible_text import visible

CLOCK_WAS_WRONG = (
    "the clock of the sender or that of the receiver is wrong now or was when this data was sent;"
    " set both, and see the runbook, 'A clock was wrong'"
)

_LOST = (
    "changes are missing, since an archive was lost on the way, or the sender's database or journal"
    " was lost or restored; the sender's next partial carries them, or after that of a database its"
    " next complete"
)
_RESTORED = (
    "the sender's database was restored, failed over or replaced, or this receiver's spool was"
    " rebuilt, or two senders publish into this spool; the next complete carries the whole state"
)
_NO_COMPLETE = "no complete archive has been applied"
_LONGEST_REASON = 1000
# From the end of a window until it is applied: two ticks, the start of two runs, a small load.
A_WINDOW_NEEDS = timedelta(minutes=2)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = 60
_DAY = 24 * _HOUR


@dataclass(frozen=True)
class Lag:
    """The lag of the receiver, for people.

    Attributes:
        data_until: Time up to which the receiver has the sender's data; None without a complete.
        minutes_behind: Minutes since then; None without a complete.
        because: Reason as text.
        ahead: Whether the data is dated in the future, so that its age is unknown.
        unreported: Whether the receiver may have data of which no report could be read.
    """

    data_until: datetime | None
    minutes_behind: float | None
    because: str
    ahead: bool = False
    unreported: bool = False

    @property
    def age_in_words(self) -> str:
        """The lag as text, such as ``47 min``, ``5 h`` or ``3 days``."""
        minutes = max(0.0, self.minutes_behind or 0.0)
        if minutes < 2 * _HOUR:
            return f"{minutes:.0f} min"
        if minutes < 2 * _DAY:
            return f"{minutes / _HOUR:.0f} h"
        return f"{minutes / _DAY:.0f} days"

    def __str__(self) -> str:
        """Return the lag and its reason as a sentence."""
        if self.unreported:
            return f"It is not known what the receiver holds, because {self.because}."
        if self.data_until is None:
            return f"The receiver holds no data yet, because {self.because}."
        if self.ahead:
            return (
                f"The receiver shows data until {self.data_until:%Y-%m-%d %H:%M:%S} UTC,"
                f" which is in the future, because {self.because}."
            )
        return (
            f"The receiver shows data until {self.data_until:%Y-%m-%d %H:%M:%S} UTC,"
            f" {self.age_in_words} behind, because {self.because}."
        )


@dataclass(frozen=True)
class Backlog:
    """What is missing or not applied at the receiver.

    Attributes:
        gaps: Number of known gaps.
        new_history: Whether the sender's database is known to be restored or replaced after a gap.
        waiting: Archives in the spool that no load has examined.
        newer: Those of them that bring newer data; without any data, completes.
        vanished: For each archive that has vanished before it was applied, what to do.
        parked: For each parked archive, its reason; the most urgent one first.
        more_parked: Number of further parked archives, whose reasons are not known.
        quarantined: Archives in quarantine whose content no later archive has brought.
        unsent: Replicated tables with rows at the receiver that the sender no longer sends.
        missing: Tables and columns that the sender sends and the receiver lacks.
        unverified: Tables whose rows DDL or other rules changed, until a complete is applied.
        more_unverified: Number of further such tables, whose names are not known.
        nothing_newer: What is known of a newer archive if the data lacks the last window, as a
            clause.
        unreported: Whether no report of the receiver could be read, now or before.
        is_overtaken: Whether the data is newer than every archive that is not applied, such as a
            parked complete after which partials were applied: that archive is not why data is late.
        faults: What else is wrong, one clause each.
        is_known: Whether what the receiver reports now is known, so that it has no newer data.
    """

    gaps: int = 0
    new_history: bool = False
    waiting: int = 0
    newer: int = 0
    vanished: Sequence[str] = ()
    parked: Sequence[str] = ()
    more_parked: int = 0
    quarantined: int = 0
    unsent: Sequence[str] = ()
    missing: Sequence[str] = ()
    unverified: Sequence[str] = ()
    more_unverified: int = 0
    nothing_newer: str = "no newer archive has arrived"
    unreported: bool = False
    is_overtaken: bool = False
    faults: Sequence[str] = ()
    is_known: bool = True


def explain_lag(
    data_until: datetime | None, now: datetime, interval: timedelta, backlog: Backlog
) -> Lag:
    """Return the lag with the reason that matters most.

    Args:
        data_until: Time up to which the receiver has the sender's data.
        now: The current time.
        interval: Length of a window; a receiver that shows the last one is up to date.
        backlog: What is missing or not applied.
    """
    age = None if data_until is None else now - data_until
    ahead = age is not None and age < -CLOCK_TOLERANCE
    minutes = None if age is None else age.total_seconds() / 60
    if minutes is not None and not ahead:
        # Within the tolerance the clocks agree: a negative lag is zero.
        minutes = max(0.0, minutes)
    because = CLOCK_WAS_WRONG if ahead else _reason(data_until, now, interval, backlog)
    return Lag(data_until, minutes, because, ahead=ahead, unreported=backlog.unreported)


def count_newer(waiting: Iterable[ArchiveName], data_until: datetime | None) -> int:
    """Return how many waiting archives bring newer data; the first data comes with a complete."""
    if data_until is None:
        return sum(name.kind is ArchiveKind.COMPLETE for name in waiting)
    return sum(name.snapshot_at > data_until for name in waiting)


def _reason(
    data_until: datetime | None, now: datetime, interval: timedelta, backlog: Backlog
) -> str:
    if data_until is None:
        nothing = "no report of it could be read" if backlog.unreported else _NO_COMPLETE
        found = [*_causes(backlog)] or [nothing]
    else:
        is_late = lacks_last_window(data_until, now, interval)
        found = list(_findings(backlog, is_late=is_late))
        if not found and backlog.is_known:
            found = ["that was the last window"]
            if not backlog.faults:
                return "that was the last window, all is well"
    return ", and ".join([*found, *backlog.faults])


def _findings(backlog: Backlog, *, is_late: bool) -> Iterator[str]:
    """Yield why data is late, and what is wrong with it even if it is not."""
    causes = [*_causes(backlog)]
    yield from causes
    if is_late and not backlog.newer and (not causes or backlog.is_overtaken):
        yield backlog.nothing_newer
    if not causes:
        about_tables = (
            unsent_in_words(backlog.unsent),
            missing_in_words(backlog.missing),
            unverified_in_words(backlog.unverified, backlog.more_unverified),
        )
        yield from filter(None, about_tables)


def lacks_last_window(until: datetime, now: datetime, interval: timedelta) -> bool:
    """Return whether what was made or came at a time lacks the last window that should be here."""
    ended_by = now - A_WINDOW_NEEDS
    return until < _EPOCH + (ended_by - _EPOCH) // interval * interval


def _causes(backlog: Backlog) -> Iterator[str]:
    """Yield what the next load brings, before what it cannot bring."""
    in_the_way = _in_the_way(backlog)
    if backlog.newer:
        yield _waiting(backlog.newer)
    elif backlog.waiting and in_the_way is None:
        yield _waiting(backlog.waiting)
    if backlog.vanished:
        yield _first_of(backlog.vanished)
    if in_the_way is not None:
        yield in_the_way


def _waiting(count: int) -> str:
    wait = "archive waits" if count == 1 else "archives wait"
    return f"{count} {wait} for the next load"


def _first_of(reasons: Sequence[str], more: int = 0) -> str:
    first, *others = reasons
    more += len(others)
    # At the sender this text comes from the receiver.
    return visible(first, _LONGEST_REASON) + (f" (and {more} more)" if more else "")


def _in_the_way(backlog: Backlog) -> str | None:
    if backlog.parked:
        return _first_of(backlog.parked, backlog.more_parked)
    if backlog.more_parked:
        what = "archive is" if backlog.more_parked == 1 else "archives are"
        return (
            f"{backlog.more_parked} {what} parked that the receiver's report does not list;"
            " `ar-sync status` at the receiver says why"
        )
    if backlog.quarantined:
        what = "archive is" if backlog.quarantined == 1 else "archives are"
        return (
            f"{backlog.quarantined} {what} in quarantine, and no later one was applied for it yet"
        )
    if backlog.gaps:
        return _RESTORED if backlog.new_history else _LOST
    return None
