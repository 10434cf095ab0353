"""The clock: its type, and the machine's; code that needs the time is given a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

Clock = Callable[[], datetime]
"""Returns the current time, aware UTC."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""Largest difference between the clocks of two servers that is not reported."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Where there is none, the clock stands still while the machine sleeps.
_STEADY_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def utc_now() -> datetime:
    """Return the machine's time: the clock of the command line and of the code locations."""
    return datetime.now(UTC)


def time_since_boot() -> timedelta:
    """Return the time since the machine was started, which no setting of its clock changes."""
    return timedelta(seconds=time.clock_gettime(_STEADY_CLOCK))


def boot_id() -> str:
    """Return the id of the machine's boot; empty on systems without such ids."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def from_epoch(seconds: float) -> datetime:
    """Return a time from the seconds since 1970 that a file or Dagster records, aware UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def not_ahead(times: Iterable[datetime], now: datetime) -> list[datetime]:
    """Return the recorded times without those of a clock that was ahead and was set back since.

    When something of such a time really happened is unknown.
    """
    return [time for time in times if time <= now + CLOCK_TOLERANCE]
