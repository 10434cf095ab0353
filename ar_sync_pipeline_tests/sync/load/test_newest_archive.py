"""By which archive the receiver judges the sender, after a clock was wrong."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.export.snapshot import TICK
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.sync.load.empty_archives import load_empty_archives
from ar_sync_pipeline.sync.load.newest_archive import last_arrival, newest_in_spool
from ar_sync_pipeline.sync.watch.other_side import _interval, recorded_archives, sender_as_written
from ar_sync_pipeline_tests.fix_sites import TwoSites
from ar_sync_pipeline_tests.sync.fix_wrong_clocks import CHANGE, DAY, HOUR, WrongClocks

NONE = timedelta()
MINUTE = timedelta(minutes=1)
TEN_YEARS = 3650 * DAY


@pytest.fixture
def set_right(clocks: WrongClocks) -> WrongClocks:
    """Two servers; the sender was ten years ahead for one partial, which the next one replaced."""
    clocks.complete(NONE)
    clocks.load()
    clocks.sites.at_sender(CHANGE)
    clocks.partial(TEN_YEARS, clocks.watermark())
    assert not clocks.load()
    clocks.partial(NONE, clocks.watermark())
    assert clocks.load()
    clocks.load()
    assert not clocks.parked()
    assert [line.superseded for line in ledger(clocks.sites)] == [False, False, True]
    return clocks


def ledger(sites: TwoSites) -> list[AppliedArchive]:
    with connect(sites.receiver, application="test") as connection:
        return recorded_archives(connection)


def findings(sites: TwoSites) -> list[str]:
    with connect(sites.receiver, application="test") as connection:
        now = datetime.now(UTC)
        return [one.problem for one in sender_as_written(sites.settings, connection, now)]


def newest(sites: TwoSites, kind: ArchiveKind | None = None) -> str:
    found = newest_in_spool(sites.spool, kind, ledger(sites), datetime.now(UTC))
    assert found is not None
    return found.name.waiting


def test_clock_that_was_set_right_is_no_finding(set_right: WrongClocks) -> None:
    assert findings(set_right.sites) == []


@pytest.mark.long
def test_archive_of_a_clock_that_was_ahead_is_not_the_newest(set_right: WrongClocks) -> None:
    last = set_right.partial(NONE, set_right.watermark())
    assert newest(set_right.sites) == last.name


@pytest.mark.long
def test_parked_archive_of_the_future_is_not_the_newest(clocks: WrongClocks) -> None:
    base = clocks.complete(NONE)
    assert clocks.load()
    clocks.complete(DAY)
    clocks.load()
    assert clocks.parked()
    assert newest(clocks.sites) == base.name
    assert newest(clocks.sites, ArchiveKind.COMPLETE) == base.name


def test_archive_of_the_future_is_the_newest_if_there_is_no_other(clocks: WrongClocks) -> None:
    path = clocks.complete(DAY)
    assert newest(clocks.sites) == path.name


@pytest.mark.long
def test_archives_that_both_wrong_clocks_agreed_on_count(clocks: WrongClocks) -> None:
    clocks.complete(NONE)
    clocks.load()
    ahead = clocks.partial(DAY, clocks.watermark())
    assert clocks.load(DAY)
    assert newest(clocks.sites) == ahead.name


@pytest.mark.long
def test_clock_that_is_ahead_is_found_whatever_came_before(set_right: WrongClocks) -> None:
    set_right.partial(timedelta(minutes=2), set_right.watermark())
    (found,) = findings(set_right.sites)
    assert found.startswith("the sender's clock is at least 1")


def test_file_that_arrived_while_this_clock_was_ahead_says_nothing(clocks: WrongClocks) -> None:
    waiting = clocks.complete(NONE)
    now = datetime.now(UTC)
    os.utime(waiting, (now.timestamp(),) * 2)
    older, newer = clocks.sites.spool / "complete", clocks.sites.spool / "partial"
    for folder, hours in ((older, 1), (newer, 2)):
        name = ArchiveName(ArchiveKind(folder.name), now + hours * HOUR)
        file = folder / name.waiting
        file.touch()
        os.utime(file, ((now + 20 * HOUR).timestamp(),) * 2)
    last = last_arrival(clocks.sites.spool, [], now)
    assert last is not None
    assert last.name.waiting == waiting.name
    waiting.unlink()
    assert last_arrival(clocks.sites.spool, [], now) is None


@pytest.mark.long
def test_date_that_follows_the_archive_before_says_nothing_of_the_clock(
    clocks: WrongClocks,
) -> None:
    clocks.complete(DAY)
    assert clocks.load(DAY)
    (ahead,) = findings(clocks.sites)
    assert "ahead of this machine's" in ahead
    since, now = clocks.watermark(), datetime.now(UTC)
    clocks.sites.clock = lambda: since.snapshot_at + TICK
    clocks.sites.partial(Window(start=now - 5 * MINUTE, end=now), since=since)
    assert findings(clocks.sites) == []


def test_windows_of_a_replaced_archive_are_not_compared(set_right: WrongClocks) -> None:
    now = datetime.now(UTC)
    replaced = ledger(set_right.sites)[-1]
    ten = replace(replaced, superseded=False, window_start=now - 10 * MINUTE, window_end=now)
    set_right.sites.environ |= {"AR_SYNC_PARTIAL_INTERVAL": "10", "AR_SYNC_TIME": "20"}
    settings = set_right.sites.settings
    assert not [*_interval(settings, [ten, replaced])]
    five = replace(replaced, superseded=False)
    assert [*_interval(settings, [five, five, five])]


@pytest.mark.long
def test_empty_archive_after_a_replaced_one_is_loaded_without_a_run(
    set_right: WrongClocks,
) -> None:
    sites = set_right.sites
    minute_ago = datetime.now(UTC) - MINUTE
    empty = Window(start=minute_ago - MINUTE, end=minute_ago)
    sites.partial(empty, minutes=0, since=set_right.watermark())
    assert load_empty_archives(sites.settings, sites.catalog, sites.clock) is not None
