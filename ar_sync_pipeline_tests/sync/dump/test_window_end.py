"""A run that was started early waits for the end of its window, and never for ever."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from ar_sync_pipeline.sync.dump.window_end import wait_for_end
from ar_sync_pipeline.sync.errors import WindowStillOpenError

END = datetime(2026, 11, 29, 10, 5, tzinfo=UTC)


class Clock:
    """A clock that starts some time before the end, and can be set while it runs."""

    def __init__(self, before: timedelta) -> None:
        self._offset = END - before - datetime.now(UTC)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._offset

    def set_back(self, by: timedelta) -> None:
        self._offset -= by


def test_waits_until_the_clock_has_reached_the_end() -> None:
    clock = Clock(timedelta(seconds=0.3))
    started = time.monotonic()
    wait_for_end(END, clock)
    assert clock() >= END
    assert time.monotonic() - started >= 0.29


def test_window_that_has_ended_is_not_waited_for() -> None:
    started = time.monotonic()
    wait_for_end(END, Clock(timedelta(days=-1)))
    assert time.monotonic() - started < 0.1


def test_window_of_the_future_is_an_error_at_once() -> None:
    with pytest.raises(WindowStillOpenError, match="time synchronization"):
        wait_for_end(END, Clock(timedelta(minutes=4)))


def test_clock_that_is_corrected_makes_it_wait_longer() -> None:
    clock = Clock(timedelta(seconds=0.2))
    clock.set_back(timedelta(seconds=0.2))
    wait_for_end(END, clock)
    assert clock() >= END


def test_clock_that_is_set_back_by_hours_does_not_make_it_wait_for_ever() -> None:
    clock = Clock(timedelta(seconds=0.2))
    asked = 0

    def set_back_later() -> datetime:
        nonlocal asked
        asked += 1
        if asked == 3:
            clock.set_back(timedelta(hours=2))
        return clock()

    started = time.monotonic()
    with pytest.raises(WindowStillOpenError, match="set back"):
        wait_for_end(END, set_back_later, correction=timedelta(seconds=0.5))
    assert time.monotonic() - started < 5
