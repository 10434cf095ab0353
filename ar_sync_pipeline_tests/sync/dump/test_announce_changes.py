"""A waiting run announces its archive if a row has changed, and never delays the snapshot."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.files import HeldFolder
from ar_sync_pipeline.settings.model import load_sender_settings
from ar_sync_pipeline.spool.announcement import (
    ANNOUNCEMENT_FILE,
    Announcement,
    expected_archive,
)
from ar_sync_pipeline.spool.signed_json import parse_signed
from ar_sync_pipeline.sync.dump.announce_changes import announce_when_changed
from ar_sync_pipeline.sync.dump.table_dump import PartialRequest
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import execute

KEY = "k5Xw9qLr2vTzB8nYpEcJ4sHdGfAm7uR3"
LOOK_BACK = timedelta(minutes=15)
OLD = "UPDATE app_child SET changed = now() - interval '2 hours'"


def now() -> datetime:
    return datetime.now(UTC)


def announce(deployment: Deployment, *, seconds_left: float = 20) -> str | None:
    """Announce the archive of a window that ends in some seconds."""
    settings = load_sender_settings(deployment.sender_environment())
    end = now() + timedelta(seconds=seconds_left)
    request = PartialRequest(Window(start=end - timedelta(minutes=5), end=end), LOOK_BACK, None)
    return announce_when_changed(settings, load_catalog(settings.catalog), now, request)


def file_of(deployment: Deployment) -> Path:
    return deployment.spool / ".incoming" / ANNOUNCEMENT_FILE


def test_clock_that_is_set_back_while_the_run_waits_is_no_failure(deployment: Deployment) -> None:
    """By less than a run tolerates, and by more than an announcement can say."""
    settings = load_sender_settings(deployment.sender_environment())
    end = now() + timedelta(seconds=39)
    asked = 0

    def set_back_after_the_probe() -> datetime:
        nonlocal asked
        asked += 1
        return now() - timedelta(seconds=25) * (asked > 4)

    request = PartialRequest(Window(start=end - timedelta(minutes=5), end=end), LOOK_BACK, None)
    catalog = load_catalog(settings.catalog)
    announce_when_changed(settings, catalog, set_back_after_the_probe, request)
    assert expected_archive(deployment.spool, now(), signing_keys=()) is not None


def test_changed_row_is_announced_with_the_seconds_that_are_left(deployment: Deployment) -> None:
    assert announce(deployment) is None
    content = file_of(deployment).read_bytes()
    first = parse_signed(Announcement, content, what="the announcement", keys=())
    assert 0 < first.seconds < 20
    assert announce(deployment) is None
    content = file_of(deployment).read_bytes()
    second = parse_signed(Announcement, content, what="the announcement", keys=())
    assert second.announcement_id != first.announcement_id
    assert [*(deployment.spool / ".incoming").iterdir()] == [file_of(deployment)]


def test_earliest_announcement_is_one_that_the_receiver_accepts(deployment: Deployment) -> None:
    assert announce(deployment, seconds_left=41) is None
    content = file_of(deployment).read_bytes()
    assert parse_signed(Announcement, content, what="the announcement", keys=()).seconds > 35
    assert expected_archive(deployment.spool, now(), signing_keys=()) is not None


def test_announcement_is_signed_and_says_how_long_to_wait(
    deployment: Deployment,
) -> None:
    deployment.sender_changes["AR_SYNC_SIGNING_KEY"] = KEY
    assert announce(deployment) is None
    expected = expected_archive(deployment.spool, now(), signing_keys=[KEY.encode()])
    assert expected is not None
    assert timedelta(seconds=20) < expected.until - now() < timedelta(seconds=40)
    assert expected_archive(deployment.spool, now(), signing_keys=[b"other"]) is None


@pytest.mark.long
def test_window_without_changes_is_not_announced(deployment: Deployment) -> None:
    execute(deployment.sender_url, OLD)
    assert announce(deployment, seconds_left=8) is None
    assert not file_of(deployment).exists()


def test_nothing_is_announced_in_the_last_seconds(deployment: Deployment) -> None:
    assert announce(deployment, seconds_left=5) is None
    assert not file_of(deployment).exists()


@pytest.mark.parametrize("obstacle", ["locked table", "server", "folder of that name"])
def test_what_prevents_the_announcement_is_returned_in_time(
    deployment: Deployment, obstacle: str
) -> None:
    started = now()
    if obstacle == "server":
        deployment.sender_changes["AR_SYNC_REMOTE_PORT"] = "1"
    elif obstacle == "folder of that name":
        file_of(deployment).mkdir()
    with psycopg.connect(deployment.sender_url) as other:
        if obstacle == "locked table":
            other.execute("LOCK TABLE app_child IN ACCESS EXCLUSIVE MODE")
        problem = announce(deployment, seconds_left=15)
    assert problem
    assert now() - started < timedelta(seconds=15)


@pytest.mark.parametrize("seconds", [-(2**50), 2**50])
def test_announcement_with_an_impossible_time_is_ignored(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """Btrfs, ZFS and tmpfs keep any time that an account sets."""
    times = {"st_mtime": float(seconds), "st_mtime_ns": seconds * 10**9}
    facts = os.stat_result((0o100644, *[0] * 9), times)
    monkeypatch.setattr(HeldFolder, "file_facts", lambda *_: facts)
    assert expected_archive(deployment.spool, now(), signing_keys=()) is None
