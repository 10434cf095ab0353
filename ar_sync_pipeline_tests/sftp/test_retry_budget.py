"""When a failed publication is tried again, by a clock that the test sets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sftp import retry_budget
from ar_sync_pipeline.sftp.errors import ConnectionLostError, UnreachableHostError
from ar_sync_pipeline.sftp.limits import SessionLimits
from ar_sync_pipeline.sftp.retry_budget import RetryBudget, RetryPlan

REFUSED = UnreachableHostError("refused", remedy="start it")
LOST = ConnectionLostError("lost", remedy="wait")


@dataclass
class StoppedClock:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    made = StoppedClock()
    monkeypatch.setattr(retry_budget, "time", made)
    return made


def waits_of(budget: RetryBudget, clock: StoppedClock, error: ArSyncError) -> list[float]:
    """Return the waits between attempts that fail at once."""
    found = list[float]()
    while (wait := budget.seconds_to_next_attempt(error)) is not None:
        assert len(found) < 100
        found.append(wait)
        clock.now += wait
    return found


def test_waits_grow_until_the_plans_time_would_be_over(clock: StoppedClock) -> None:
    failures = list[ArSyncError]()
    plan = RetryPlan(fruitless_seconds=1, first_wait_seconds=0.05)
    budget = RetryBudget(plan, failures.append)
    assert waits_of(budget, clock, REFUSED) == [0.05, 0.1, 0.2, 0.4]
    assert failures == [REFUSED] * 5


def test_no_wait_is_longer_than_the_plans_longest(clock: StoppedClock) -> None:
    plan = RetryPlan(fruitless_seconds=20, first_wait_seconds=1, longest_wait_seconds=4)
    assert waits_of(RetryBudget(plan, None), clock, LOST) == [1, 2, 4, 4, 4, 4]


def test_new_bytes_give_the_whole_time_and_the_first_wait_again(clock: StoppedClock) -> None:
    budget = RetryBudget(RetryPlan(fruitless_seconds=10, first_wait_seconds=1), None)
    for arrived in range(1, 50):
        clock.now += 9
        budget.arrived(arrived)
        assert budget.seconds_to_next_attempt(LOST) == 1
    clock.now += 9
    budget.arrived(49)  # nothing new
    assert budget.seconds_to_next_attempt(LOST) is None


def test_an_attempt_may_take_what_is_left_of_the_plans_time(clock: StoppedClock) -> None:
    session = SessionLimits(opening_seconds=30, silence_seconds=60)
    budget = RetryBudget(RetryPlan(fruitless_seconds=9, session=session), None)
    clock.now += 6
    limits = budget.limits()
    assert (limits.opening_seconds, limits.silence_seconds) == pytest.approx((1, 2))
