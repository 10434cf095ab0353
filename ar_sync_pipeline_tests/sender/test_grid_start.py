"""The grid of windows starts with the installation, and its start does not change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.operations.windows import window_partitions
from ar_sync_pipeline.sender.grid_start import grid_start
from ar_sync_pipeline.settings.model import SenderSettings, load_sender_settings
from ar_sync_pipeline.sync.dump.sender_journal_file import SENT_FILE
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_rights import permissions_count

NOW = datetime(2026, 11, 28, 14, 37, 12, tzinfo=UTC)
INSTALLED = datetime(2026, 11, 28, 14, 30, tzinfo=UTC)


@pytest.fixture
def settings(deployment: Deployment) -> SenderSettings:
    """Settings of a sender whose code location was never loaded."""
    first_window(deployment).unlink()
    return load_sender_settings(deployment.sender_environment())


def first_window(deployment: Deployment) -> Path:
    return deployment.folder / "state" / "sender" / "first_window"


def test_it_is_the_newest_closed_window_of_the_first_start(settings: SenderSettings) -> None:
    assert grid_start(settings, NOW) == INSTALLED


def test_every_later_process_finds_the_same(settings: SenderSettings) -> None:
    grid_start(settings, NOW)
    assert grid_start(settings, NOW + timedelta(days=3)) == INSTALLED


@pytest.mark.long
def test_an_installation_that_has_sent_archives_keeps_all_its_windows(
    settings: SenderSettings, deployment: Deployment
) -> None:
    deployment.succeed("complete_dump")
    first_window(deployment).unlink()
    assert (deployment.folder / "scratch" / SENT_FILE).exists()
    assert grid_start(settings, NOW) is None


def test_journal_that_cannot_be_read_shows_more_windows_not_fewer(
    settings: SenderSettings, deployment: Deployment
) -> None:
    journal = deployment.folder / "scratch" / SENT_FILE
    journal.touch(mode=0)
    with permissions_count():
        assert grid_start(settings, NOW) is None


@pytest.mark.parametrize("has_sent", [False, True])
@pytest.mark.long
def test_start_by_a_clock_that_was_ahead_is_replaced(
    settings: SenderSettings, deployment: Deployment, has_sent: bool
) -> None:
    if has_sent:
        deployment.succeed("complete_dump")
        first_window(deployment).unlink()
        first_window(deployment).write_text((INSTALLED + timedelta(days=3)).isoformat())
    else:
        grid_start(settings, NOW + timedelta(days=3))
    assert grid_start(settings, NOW) == INSTALLED
    assert grid_start(settings, NOW + timedelta(days=9)) == INSTALLED


@pytest.mark.parametrize("content", [b"", b"yesterday", b"\xff\xfe"])
def test_what_is_written_unreadably_shows_more_windows_not_fewer(
    settings: SenderSettings, deployment: Deployment, content: bytes
) -> None:
    first_window(deployment).write_bytes(content)
    assert grid_start(settings, NOW) is None


def test_a_folder_in_which_nothing_can_be_written_shows_more_windows(
    settings: SenderSettings, deployment: Deployment
) -> None:
    first_window(deployment).parent.rmdir()
    first_window(deployment).parent.symlink_to(deployment.folder / "nowhere" / "else")
    assert grid_start(settings, NOW) is None


def test_the_grid_reaches_back_to_the_installation_and_not_further_than_the_setting() -> None:
    def keys(first: datetime | None) -> int:
        grid = window_partitions(NOW, days_back=7, interval_minutes=5, first=first)
        return len(grid.get_partition_keys(current_time=NOW))

    assert keys(INSTALLED) == 1
    assert keys(NOW - timedelta(days=90)) == keys(None) == 7 * 288 + 14 * 12 + 7
