"""The status of a side and its open incidents: "all is well" is said only without any."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from click.testing import CliRunner

from ar_sync_pipeline.alerts.incidents import Problem
from ar_sync_pipeline.cli.main import main
from ar_sync_pipeline.operations import boundary
from ar_sync_pipeline.postgres.checks.findings import Level
from ar_sync_pipeline.settings.model import (
    ReceiverSettings,
    SenderSettings,
    load_receiver_settings,
    load_sender_settings,
)
from ar_sync_pipeline.spool.layout import prepare_spool
from ar_sync_pipeline.sync.watch.alerting import incidents_file, open_alerts
from ar_sync_pipeline.sync.watch.disk_space import filled_folders
from ar_sync_pipeline.sync.watch.folder_findings import state_findings
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.mounted import mounted
from ar_sync_pipeline_tests.sync.watch.test_status import status

Settings = SenderSettings | ReceiverSettings
SIDES = ("sender", "receiver")
WELL = "that was the last window, all is well"


@pytest.fixture
def loaded(deployment: Deployment) -> Deployment:
    """Return a receiver that has just loaded a complete."""
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    return deployment


def environment(deployment: Deployment, side: str) -> dict[str, str]:
    if side == "sender":
        return deployment.sender_environment()
    return deployment.receiver_environment()


def settings_of(deployment: Deployment, side: str) -> Settings:
    load: Callable[[dict[str, str]], Settings] = (
        load_sender_settings if side == "sender" else load_receiver_settings
    )
    return load(environment(deployment, side))


@pytest.mark.long
def test_open_incident_is_named_and_nothing_is_well_until_it_is_over(loaded: Deployment) -> None:
    for side in SIDES:
        given = environment(loaded, side)
        before = status(given)
        assert (before.exit_code, WELL in before.stdout) == (0, True), before.output
        alerts = open_alerts(settings_of(loaded, side), lambda: datetime.now(UTC))
        at = datetime(2026, 11, 23, 7, 16, tzinfo=UTC)
        alerts.record(Problem("c", "s", "1", at, "the disk", "a step", "it is \x1bfull."))
        shown, asked = status(given), json.loads(status(given, "--json").stdout)
        line = r"incident 1 since 2026-11-23 07:16 UTC, the disk: it is \x1bfull"
        assert line in shown.stdout.splitlines()
        assert "`ar-sync incidents`" in shown.stdout
        assert "that was the last window, and 1 incident is open." in shown.stdout
        assert (shown.exit_code, asked["ok"]) == (1, False)
        (one,) = asked["incidents"]
        assert (one["incident"], one["cause"], one["opened_at"]) == (1, "c", at.isoformat())
        alerts.store.close(1, datetime.now(UTC))
        after = status(given)
        assert (after.exit_code, WELL in after.stdout) == (0, True)
        assert json.loads(status(given, "--json").stdout)["incidents"] == []


@pytest.mark.long
def test_failed_run_of_the_sender_is_named_by_its_status(
    loaded: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three attempts half a minute apart are most of the time that a test has.
    monkeypatch.setattr(boundary, "RETRY_DELAY_SECONDS", 0)
    url = loaded.sender_url
    loaded.sender_changes["AR_SYNC_SENDER_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    assert not loaded.run("partial_dump").succeeded
    loaded.sender_changes["AR_SYNC_SENDER_DATABASE_URL"] = url
    shown = status(loaded.sender_environment())
    assert shown.exit_code == 1
    assert "the sender's database: " in shown.stdout
    assert "all is well" not in shown.stdout


@pytest.mark.long
@pytest.mark.parametrize("side", SIDES)
def test_file_of_incidents_that_cannot_be_used_is_said_and_the_rest_shown(
    loaded: Deployment, side: str
) -> None:
    file = incidents_file(settings_of(loaded, side))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"no database at all" * 100)
    shown = status(environment(loaded, side))
    assert "incidents: they are not known: the file of incidents" in shown.stdout
    assert "that was the last window, and its incidents are not known." in shown.stdout
    asked = json.loads(status(environment(loaded, side), "--json").stdout)
    assert asked["incidents_note"]
    assert (shown.exit_code, asked["ok"]) == (1, False)


@pytest.mark.long
def test_incidents_on_a_disk_that_is_not_mounted_are_not_known(
    loaded: Deployment, tmp_path: Path
) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    for place in ("incidents.sqlite", "a link", "receiver"):
        state = link = tmp_path / f"state with {place}"
        if place != "a link":
            link = state / "receiver" / place.removeprefix("receiver")
        link.parent.mkdir(parents=True, exist_ok=True)
        if place == "receiver":
            link.touch()
        else:
            link.symlink_to(mounted / "store")
        given = loaded.receiver_environment() | {"AR_SYNC_STATE_FLDR": str(state)}
        shown = status(given)
        assert "and its incidents are not known." in shown.stdout, shown.output
        assert "incidents: they are not known: the file of incidents" in shown.stdout
        assert shown.exit_code == 1
        found = CliRunner().invoke(main, ["incidents"], env=given)
        assert (found.exit_code, found.output.count("the file of incidents")) == (2, 1)
        assert [*mounted.iterdir()] == []
        errors = [*state_findings(load_receiver_settings(given))]
        assert [one.level for one in errors] == [Level.ERROR] * (place != "incidents.sqlite")


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "why"),
    [("ro", "is mounted read-only"), ("nr_inodes={used}", "has no inode left")],
)
def test_folder_that_takes_no_file_is_not_well_and_the_list_of_incidents_says_so(
    loaded: Deployment, change: str, why: str
) -> None:
    """No incident can be opened there, so that nothing else says it."""
    for side, names in {"sender": ("state",), "receiver": ("state", "spool")}.items():
        given, settings = environment(loaded, side), settings_of(loaded, side)
        for name in names:
            folder = filled_folders(settings)[name]
            with mounted(folder, "-t", "tmpfs", "-o", f"mode={folder.stat().st_mode:o}", "tmpfs"):
                prepare_spool(folder) if name == "spool" else None
                listed = CliRunner().invoke(main, ["incidents"], env=given)
                assert (listed.exit_code, why in listed.output) == (0, False), listed.output
                facts = os.statvfs(folder)
                option = change.format(used=facts.f_files - facts.f_ffree)
                subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)
                if name == "state" or "inode" in why:
                    shown = status(given)
                    assert f"{name} cannot be written (its file system {why})" in shown.stdout
                    assert (shown.exit_code, WELL in shown.stdout) == (1, False)
                if name == "state":
                    listed = CliRunner().invoke(main, ["incidents"], env=given)
                    assert f"{why}), so no new alert is kept" in listed.output
                    (found, *_) = state_findings(settings)
                    assert ("mounted read-only" in found.problem) is (change == "ro")
                    assert ("mount it writable" in found.remedy) is (change == "ro")


@pytest.mark.long
def test_missing_file_of_incidents_is_said_and_not_made(loaded: Deployment, tmp_path: Path) -> None:
    given = loaded.receiver_environment() | {"AR_SYNC_STATE_FLDR": str(tmp_path / "none")}
    shown = status(given)
    assert "incidents: none is recorded: " in shown.stdout
    assert WELL in shown.stdout
    assert not (tmp_path / "none").exists()


@pytest.mark.long
def test_sender_says_that_nothing_newer_was_published_and_when_that_is_too_long(
    loaded: Deployment,
) -> None:
    given = loaded.sender_environment()
    for minutes, exit_code in ((15, 0), (40, 1)):
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=minutes)):
            shown = status(given)
        assert "because no newer archive was published." in shown.stdout
        assert shown.exit_code == exit_code


@pytest.mark.long
def test_sender_says_that_the_newest_archive_is_not_reported_as_applied(
    loaded: Deployment,
) -> None:
    loaded.succeed("partial_dump")
    for waiting in (loaded.spool / "partial").iterdir():
        waiting.unlink()
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=15)):
        shown = status(loaded.sender_environment())
    assert "because the receiver has not reported the newest archive, published" in shown.stdout
