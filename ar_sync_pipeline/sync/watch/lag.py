"""How far behind the receiver is, and why: one number and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ar_sync_pipeline.clock import CLOCK_TOLERANCE
from ar_sync_pipeline.sync.load.unsent_tables import unsent_in_words
from ar_sync_pipeline.visible_text import visible

_CLOCK_WAS_WRONG = (
    "the clock of the sender or that of the receiver is wrong now or was when this data was sent;"
    " set both, and see the runbook, 'A clock was wrong'"
)

_LOST = (
    "an archive was lost on the way; the sender's next partial, or the next complete, carries what"
    " it held"
)
_RESTORED = (
    "the sender's database was restored, failed over or replaced; the next complete carries its"
    " whole state"
)
_LONGEST_REASON = 1000
_HOUR = 60
_DAY = 24 * _HOUR


@dataclass(frozen=True)
class Lag:
    """What an operator wants to know at a glance.

    Attributes:
        data_until: the receiver holds the sender's data of this instant; None without a complete.
        minutes_behind: from then to now; None without a complete.
        because: the reason in words.
        ahead: the data is dated in the future, so that nothing can be said of its age.
    """

    data_until: datetime | None
    minutes_behind: float | None
    because: str
    ahead: bool = False

    @property
    def age_in_words(self) -> str:
        """How far behind, such as ``47 min``, ``5 h`` or ``3 days``."""
        minutes = max(0.0, self.minutes_behind or 0.0)
        if minutes < 2 * _HOUR:
            return f"{minutes:.0f} min"
        if minutes < 2 * _DAY:
            return f"{minutes / _HOUR:.0f} h"
        return f"{minutes / _DAY:.0f} days"

    def __str__(self) -> str:
        """The whole as a sentence."""
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
    """What stands between the receiver and the sender's present.

    Attributes:
        gaps: stretches that are known to be missing.
        new_history: behind one of them, the sender's database had been restored or replaced.
        waiting: archives in the spool that no load has looked at.
        parked: of each parked archive, which and why.
        quarantined: archives in quarantine whose content nothing has brought since.
        unsent: replicated tables with rows here that the sender no longer sends.
    """

    gaps: int = 0
    new_history: bool = False
    waiting: int = 0
    parked: Sequence[str] = ()
    quarantined: int = 0
    unsent: Sequence[str] = ()


def explain_lag(
    data_until: datetime | None, now: datetime, interval: timedelta, backlog: Backlog
) -> Lag:
    """Find the one reason that an operator should look at first.

    Args:
        interval: of the windows; a receiver that is less than two behind is up to date.
    """
    age = None if data_until is None else now - data_until
    ahead = age is not None and age < -CLOCK_TOLERANCE
    minutes = None if age is None else age.total_seconds() / 60
    if minutes is not None and not ahead:
        # Within the tolerance the clocks agree, and nothing is younger than now.
        minutes = max(0.0, minutes)
    because = _CLOCK_WAS_WRONG if ahead else _reason(age, interval, backlog)
    return Lag(data_until, minutes, because, ahead=ahead)


def _reason(age: timedelta | None, interval: timedelta, backlog: Backlog) -> str:
    waiting = _in_the_way(backlog)
    if waiting is not None:
        return waiting
    if age is None:
        return "no complete archive has been applied"
    if backlog.unsent:
        return unsent_in_words(backlog.unsent)
    if age > 2 * interval + timedelta(minutes=1):
        return "no newer archive has arrived"
    return "that was the last window, all is well"


def _in_the_way(backlog: Backlog) -> str | None:
    if backlog.parked:
        first, *others = backlog.parked
        # At the sender it comes from the receiver.
        return visible(first, _LONGEST_REASON) + (f" (and {len(others)} more)" if others else "")
    if backlog.quarantined:
        lie = "archive lies" if backlog.quarantined == 1 else "archives lie"
        return f"{backlog.quarantined} {lie} in quarantine, and no later one has come for it yet"
    if backlog.gaps:
        return _RESTORED if backlog.new_history else _LOST
    if backlog.waiting:
        wait = "archive waits" if backlog.waiting == 1 else "archives wait"
        return f"{backlog.waiting} {wait} for the next load"
    return None
