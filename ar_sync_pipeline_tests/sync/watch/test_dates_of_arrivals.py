"""Archives that arrive and are dated long before: the lag names the clocks, not the sender."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.export.snapshot import TICK
from ar_sync_pipeline.spool.states import list_applied
from ar_sync_pipeline.sync.watch.lag import CLOCK_WAS_WRONG
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_sites import TwoSites
from ar_sync_pipeline_tests.sync.fix_wrong_clocks import HOUR, WrongClocks

MINUTE = timedelta(minutes=1)
SILENT = "no newer archive has arrived"


def because(sites: TwoSites, later: timedelta = timedelta()) -> str:
    return receiver_status(sites.settings, sites.catalog, datetime.now(UTC) + later).lag.because


def applied(sites: TwoSites) -> list[Path]:
    return [archive.path for archive in list_applied(sites.spool)]


def test_archive_of_a_sender_whose_clock_is_behind_has_arrived(clocks: WrongClocks) -> None:
    clocks.complete(-4 * HOUR)
    assert clocks.load()
    said = because(clocks.sites)
    assert "the newest archive arrived at " in said
    assert "the clock of the sender or that of the receiver is wrong" in said
    assert because(clocks.sites, HOUR) == SILENT


@pytest.mark.long
def test_archives_that_arrive_and_are_dated_by_those_before_prove_a_wrong_clock(
    clocks: WrongClocks,
) -> None:
    clocks.complete(-3 * HOUR)
    assert clocks.load()
    since, now = clocks.watermark(), datetime.now(UTC)
    clocks.sites.clock = lambda: since.snapshot_at + TICK
    clocks.sites.partial(Window(start=now - 5 * MINUTE, end=now), since=since)
    clocks.sites.clock = clocks.clock
    assert clocks.load()
    assert because(clocks.sites) == CLOCK_WAS_WRONG


@pytest.mark.long
def test_receiver_whose_clock_is_ahead_says_that_archives_arrive(clocks: WrongClocks) -> None:
    clocks.complete(timedelta())
    assert clocks.load(HOUR)
    (path,) = applied(clocks.sites)
    at = (datetime.now(UTC) + HOUR).timestamp()
    os.utime(path, (at, at))
    assert "the newest archive arrived at " in because(clocks.sites, HOUR)


@pytest.mark.long
def test_archive_that_arrived_while_the_receivers_clock_was_ahead_does_not_hide_the_silence(
    clocks: WrongClocks,
) -> None:
    clocks.complete(timedelta())
    assert clocks.load()
    (path,) = applied(clocks.sites)
    at = (datetime.now(UTC) + 20 * HOUR).timestamp()
    os.utime(path, (at, at))
    assert because(clocks.sites, 8 * HOUR) == SILENT
