"""The clock: its type, and the machine's; code that needs the time is given a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Returns the current time, aware UTC."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""Largest difference between the clocks of two servers that is not reported."""


def utc_now() -> datetime:
    """Return the machine's time: the clock of the command line and of the code locations."""
    return datetime.now(UTC)


def from_epoch(seconds: float) -> datetime:
    """Return a time from the seconds since 1970 that a file or Dagster records, aware UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def not_ahead(times: Iterable[datetime], now: datetime) -> list[datetime]:
    """Return the recorded times without those of a clock that was ahead and was set back since.

    When something of such a time really happened is unknown.
    """
    return [time for time in times if time <= now + CLOCK_TOLERANCE]
