"""Days of five-minute windows with a cut network, a lost archive and a late complete: nothing lost.

The days hold the end of daylight saving in America/Santiago, when an hour comes twice.
``make soak`` lives through three days in 864 windows, ``make test`` through one in 48.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline_tests.convergence import invariants
from ar_sync_pipeline_tests.convergence.days import Days, Plan, RealSchedule
from ar_sync_pipeline_tests.convergence.fix_convergence import Servers
from ar_sync_pipeline_tests.convergence.receiver_side import ReceiverSide
from ar_sync_pipeline_tests.convergence.sender_side import SenderSide, VirtualClock


def april(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, 4, day, hour, minute, tzinfo=UTC)


ONE_DAY = Plan(
    start=april(5),
    end=april(6),
    interval=timedelta(minutes=30),
    cut=(april(5, 13), april(5, 20)),
    lost_at=april(5, 12),
    late=(april(5), april(6)),
)
THREE_DAYS = Plan(
    start=april(4),
    end=april(7),
    interval=timedelta(minutes=5),
    cut=(april(4, 12), april(4, 19)),
    lost_at=april(5, 20),
    late=(april(5), april(6)),
)
PLAN = THREE_DAYS if os.environ.get("AR_SYNC_DAYS") == "3" else ONE_DAY


@pytest.fixture
def days(servers: Servers, tmp_path: Path) -> Iterator[Days]:
    clock = VirtualClock(PLAN.start)
    sender = SenderSide(servers.sender_url, servers.sender, tmp_path, clock)
    receiver = ReceiverSide(servers.receiver_url, servers.receiver, tmp_path, clock)
    (tmp_path / "home").mkdir()
    schedule = RealSchedule(PLAN.start, PLAN.interval, tmp_path / "home")
    yield Days(PLAN, schedule, sender, receiver)
    sender.close()
    schedule.close()


def test_completes_are_due_at_the_same_local_time_on_both_sides_of_the_change() -> None:
    assert THREE_DAYS.completes() == {april(4, 6, 30), april(5, 7, 30), april(6, 7, 30)}


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_days_with_a_cut_a_loss_and_a_late_complete_lose_nothing(days: Days) -> None:
    days.begin()
    days.live()
    assert_every_window_was_answered(days)
    last = days.end_with_a_complete()
    assert last.chain is not None
    assert last.chain.gaps == ()
    invariants.receiver_equals_sender(days.receiver, days.sender)
    invariants.own_data_is_kept(days.receiver, days.sender)
    assert_no_drift(days)


def assert_every_window_was_answered(days: Days) -> None:
    reached = PLAN.start
    for window in sorted(days.answered, key=lambda window: window.start):
        assert window.start <= reached, f"no archive answers {reached} to {window.start}"
        reached = max(reached, window.end)
    assert reached == PLAN.end


def assert_no_drift(days: Days) -> None:
    """What was lost was sent again by the next partial, so that even it left nothing to repair."""
    assert set(days.drift().values()) <= {0, None}
    assert [count for count in days.drift().values() if count is not None]
