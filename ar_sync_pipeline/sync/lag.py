"""How far behind the receiver is, and why: one number and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Lag:
    """What an operator wants to know at a glance.

    Attributes:
        data_until: the receiver holds the sender's data of this instant; None without a complete.
        minutes_behind: from then to now; None without a complete.
        because: the reason in words.
    """

    data_until: datetime | None
    minutes_behind: float | None
    because: str

    def __str__(self) -> str:
        """The whole as a sentence."""
        if self.data_until is None:
            return f"The receiver holds no data yet, because {self.because}."
        return (
            f"The receiver shows data until {self.data_until:%Y-%m-%d %H:%M:%S} UTC,"
            f" {self.minutes_behind:.0f} min behind, because {self.because}."
        )


def explain_lag(
    data_until: datetime | None,
    now: datetime,
    interval: timedelta,
    *,
    holes: int,
    waiting: int,
    parked: Sequence[str],
) -> Lag:
    """Find the one reason that an operator should look at first.

    Args:
        interval: of the windows; a receiver that is less than two behind is up to date.
        holes: stretches that are known to be missing.
        waiting: archives in the spool that no load has looked at.
        parked: of each parked archive, which and why.
    """
    behind = None if data_until is None else (now - data_until).total_seconds() / 60
    return Lag(
        data_until,
        behind,
        _reason(data_until, now, interval, holes=holes, waiting=waiting, parked=parked),
    )


def _reason(
    data_until: datetime | None,
    now: datetime,
    interval: timedelta,
    *,
    holes: int,
    waiting: int,
    parked: Sequence[str],
) -> str:
    if parked:
        more = f" (and {len(parked) - 1} more)" if len(parked) > 1 else ""
        return f"{parked[0]}{more}"
    if holes:
        return (
            "an archive was lost on the way; the sender's next partial, or the next complete,"
            " carries what it held"
        )
    if waiting:
        return f"{waiting} archives wait for the next load"
    if data_until is None:
        return "no complete archive has been applied"
    if now - data_until > 2 * interval + timedelta(minutes=1):
        return "no newer archive has arrived"
    return "that was the last window, all is well"
