"""Instants as whole microseconds since 1970, as archives and journals store mtimes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_microseconds(instant: datetime) -> int:
    """Return the microseconds since 1970 of an aware time."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    """Return the time, aware UTC, of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


EARLIEST = to_microseconds(datetime(1900, 1, 1, tzinfo=UTC))
LATEST = to_microseconds(datetime(9000, 1, 1, tzinfo=UTC)) - 1
"""Limits of the mtimes that an archive can contain."""
