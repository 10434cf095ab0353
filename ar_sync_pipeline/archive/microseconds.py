"""Instants as whole microseconds since 1970, as archives and journals store mtimes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EARLIEST_INSTANT = datetime(1900, 1, 1, tzinfo=UTC)
"""The first instant that an archive can contain."""
END_OF_INSTANTS = datetime(9000, 1, 1, tzinfo=UTC)
"""The end of the instants that an archive can contain.

Years at the ends of the calendar overflow when they are converted to another time zone.
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_microseconds(instant: datetime) -> int:
    """Return the microseconds since 1970 of an aware time."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    """Return the time, aware UTC, of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


def nearest_instant(microseconds: int) -> datetime:
    """Return the instant that an archive can contain and that is nearest to any mtime."""
    return from_microseconds(min(max(microseconds, EARLIEST), LATEST))


EARLIEST = to_microseconds(EARLIEST_INSTANT)
LATEST = to_microseconds(END_OF_INSTANTS) - 1
"""Limits of the mtimes that an archive can contain."""
