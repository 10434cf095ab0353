"""Pauses between attempts of the same work: 1, 2, 4, ... minutes, at most half an hour."""

from datetime import datetime, timedelta

_FIRST = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(minutes=30)


def pause_after(failures: int) -> timedelta:
    """Return how long to wait after the last of some consecutive failures; zero after none."""
    if failures <= 0:
        return timedelta()
    doublings = min(failures - 1, 10)
    return min(_FIRST * (1 << doublings), LONGEST_PAUSE)


def next_try(failures: list[datetime]) -> datetime | None:
    """Return when to retry after failures at these times; None if there were none."""
    return max(failures) + pause_after(len(failures)) if failures else None
