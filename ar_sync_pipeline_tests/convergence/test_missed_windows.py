"""What the schedule of partials asks for at a tick: the newest window, and missing ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline_tests.convergence.days import RealSchedule

NOON = datetime(2026, 4, 5, 12, tzinfo=UTC)
INTERVAL = timedelta(minutes=15)


@pytest.fixture
def schedule(tmp_path: Path) -> Iterator[RealSchedule]:
    made = RealSchedule(NOON, INTERVAL, tmp_path)
    yield made
    made.close()


def last(span: timedelta) -> Window:
    return Window(start=NOON - span, end=NOON)


def test_new_sender_asks_for_the_newest_window_and_never_for_one_before_it(
    schedule: RealSchedule,
) -> None:
    first = schedule.asks_for(NOON)
    assert first == last(INTERVAL)
    schedule.note_success(first)
    assert schedule.asks_for(NOON) is None
    assert schedule.asks_for(NOON + INTERVAL) == Window(start=NOON, end=NOON + INTERVAL)


@pytest.mark.parametrize("hours", [1, 7, 12])
def test_windows_that_a_cut_line_kept_back_are_asked_for_in_one_range(
    schedule: RealSchedule, hours: int
) -> None:
    cut = timedelta(hours=hours)
    schedule.note_success(Window(start=NOON - cut - INTERVAL, end=NOON - cut))
    assert schedule.asks_for(NOON) == last(cut)


def test_after_a_longer_cut_the_last_half_day_is_asked_for(schedule: RealSchedule) -> None:
    """The watermark brings what is older; a range of days would be an event for each window."""
    schedule.note_success(Window(start=NOON - timedelta(hours=20), end=NOON - timedelta(hours=19)))
    assert schedule.asks_for(NOON) == last(timedelta(hours=12))
