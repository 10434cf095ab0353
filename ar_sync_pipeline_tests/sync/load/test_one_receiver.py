"""Two receivers load from one spool: both say so, and neither is refused anything."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from secrets import token_hex

import pytest

from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.receiver_mark import ReceiverMark, SignOfLife
from ar_sync_pipeline.sync.load.acknowledge import acknowledge_by_hand
from ar_sync_pipeline.sync.load.preview import preview_load
from ar_sync_pipeline.sync.watch.preflight import preflight, sudden_problems
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import (
    SMALL_RECEIVER,
    TwoSites,
    equal,
    execute,
    recent_window,
    rows,
)
from ar_sync_pipeline_tests.open_sessions import close_sessions

MARK = "receipts/receiver.json"


class Now:
    """A clock that both receivers share."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(filled: TwoSites) -> Now:
    return Now(filled.clock())


@pytest.fixture
def first(filled: TwoSites, clock: Now) -> TwoSites:
    """A receiver that has loaded."""
    filled.complete()
    filled = replace(filled, clock=clock)
    filled.load()
    return filled


@pytest.fixture
def second(first: TwoSites, database_factory: DatabaseFactory) -> TwoSites:
    """A copy of the receiver without its ledger, with its settings."""
    copy = database_factory()
    execute(copy, *SMALL_RECEIVER)
    return replace(first, receiver=copy)


@pytest.fixture
def moved(first: TwoSites, database_factory: DatabaseFactory) -> TwoSites:
    """The receiver, restored under another name with its ledger."""
    (name,) = rows(first.receiver, "SELECT current_database()")[0]
    close_sessions(first.receiver)
    return replace(first, receiver=database_factory(str(name)))


def found(sites: TwoSites) -> list[str]:
    """Return the levels of what the check finds of another receiver."""
    told = preflight(sites.settings, sites.catalog, sites.clock).findings
    return [f"{one.level}" for one in told if "another receiver" in one.problem]


def said(sites: TwoSites) -> str:
    return receiver_status(sites.settings, sites.catalog, sites.clock()).other_receiver


def tick(sites: TwoSites) -> None:
    """Do what the sensor `data_age` does."""
    acknowledge_by_hand(sites.settings, sites.clock)


def signs(sites: TwoSites) -> list[SignOfLife]:
    mark = ReceiverMark.read(sites.spool, signing_keys=())
    return [] if mark is None else [*mark.receivers.values()]


def test_second_one_is_told_and_refused_nothing(first: TwoSites, second: TwoSites) -> None:
    (name,) = rows(first.receiver, "SELECT current_database()")[0]
    assert found(second) == ["error"]
    assert found(first) == []
    assert f"database {name} of cluster" in said(second)
    assert "stop one of the two" in said(second)
    path = first.partial(recent_window())
    preview_load(second.settings, second.catalog, path, second.clock)
    tick(second)
    assert len(signs(first)) == 1
    assert second.load().loaded
    assert equal(second)


@pytest.mark.long
def test_both_are_told_without_an_end_while_both_write(
    first: TwoSites, second: TwoSites, clock: Now
) -> None:
    clock.now += timedelta(seconds=1)
    second.load()
    assert found(first) == ["error"]
    for minute in range(20):
        clock.now += timedelta(minutes=1)
        tick(first)
        tick(second)
        if minute >= 2:
            hints = [sudden_problems(one.settings, clock) or "" for one in (first, second)]
            assert all("another receiver" in hint for hint in hints)
            assert all(map(said, (first, second)))
    assert found(first) == found(second) == ["error"]
    assert not receiver_status(first.settings, first.catalog, clock()).ok


def test_ends_by_itself_when_the_other_one_is_silent(
    first: TwoSites, second: TwoSites, clock: Now
) -> None:
    second.load()
    for _ in range(12):
        clock.now += timedelta(minutes=1)
        tick(first)
    assert found(first) == []
    assert said(first) == ""
    assert sudden_problems(first.settings, clock) == ""
    assert len(signs(first)) == 1


def test_keys_of_the_second_one_do_not_matter(second: TwoSites) -> None:
    second.environ["AR_SYNC_SIGNING_KEY"] = token_hex(32)
    assert said(second)


@pytest.mark.long
def test_receiver_that_took_the_place_of_one_is_warned_for_minutes(
    moved: TwoSites, clock: Now
) -> None:
    assert found(moved) == ["warning"]
    for minute in range(15):
        clock.now += timedelta(minutes=1)
        tick(moved)
        assert said(moved) == ""
        assert bool(sudden_problems(moved.settings, clock)) == (minute < 10)
    assert found(moved) == []
    moved.partial(recent_window())
    assert len(moved.load().loaded) == 1


def test_empty_database_in_place_of_a_lost_one_fails_the_check_until_it_has_loaded(
    second: TwoSites,
) -> None:
    assert found(second) == ["error"]
    second.load()
    assert found(second) == ["warning"]
    written = Checkpoint.read(second.spool, signing_keys=())
    assert written is not None
    assert written.watermark is not None


def test_copy_with_the_ledger_is_told_as_soon_as_the_first_one_is_seen_beside_it(
    first: TwoSites, moved: TwoSites, clock: Now
) -> None:
    clock.now += timedelta(minutes=1)
    tick(moved)
    assert found(moved) == ["warning"]
    assert found(first) == ["error"]
    clock.now += timedelta(minutes=2)
    tick(first)
    assert found(moved) == ["error"]


def test_receiver_that_has_applied_nothing_gives_no_sign(small_sites: TwoSites) -> None:
    small_sites.admit()
    tick(small_sites)
    assert (small_sites.spool / "receipts/position.json").exists()
    assert signs(small_sites) == []


def test_sign_is_renewed_after_minutes_only(first: TwoSites, clock: Now) -> None:
    written = (first.spool / MARK).read_bytes()
    began = clock.now
    clock.now += timedelta(minutes=1)
    tick(first)
    assert (first.spool / MARK).read_bytes() == written
    clock.now += timedelta(minutes=1)
    tick(first)
    assert [(one.since, one.at) for one in signs(first)] == [(began, clock.now)]


@pytest.mark.parametrize("as_folder", [True, False])
def test_mark_that_cannot_be_used_holds_up_nothing(
    first: TwoSites, clock: Now, *, as_folder: bool
) -> None:
    mark = first.spool / MARK
    if as_folder:
        mark.unlink()
        mark.mkdir()
    else:
        mark.write_bytes(b"{")
    tick(first)
    assert found(first) == []
    clock.now += timedelta(minutes=1)
    first.partial(recent_window())
    assert len(first.load().loaded) == 1
