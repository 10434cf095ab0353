"""``ar-sync check`` and job ``ssh_sftp_checker``: the failed step and its remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from click import Context
from click.testing import CliRunner, Result

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.operations.asset_keys import endpoint_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.runs.local_runs import LocalRuns, RunOutcome
from ar_sync_pipeline.sftp.probe import STEPS
from ar_sync_pipeline_tests.fix_alerts import Mailbox, smtp_server
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import execute

KEY = "2b7e151628aed2a6abf7158809cf4f3c"


@pytest.fixture(autouse=True)
def mailbox(deployment: Deployment) -> Iterator[Mailbox]:
    with smtp_server(Mailbox()) as box:
        deployment.change_both(box.environ)
        yield box


def check(deployment: Deployment, *words: str) -> Result:
    return CliRunner().invoke(main, ["check", *words], env=deployment.sender_environment())


def run_job(deployment: Deployment) -> RunOutcome:
    with LocalRuns(deployment.home) as runs:
        return runs.run(deployment.sender_definitions(), "ssh_sftp_checker")


def latest_test(deployment: Deployment, *, passed: bool) -> dict[str, dg.MetadataValue]:
    """Return what the job recorded for the endpoint."""
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        fetch = instance.fetch_materializations if passed else instance.fetch_observations
        (record,) = fetch(endpoint_key(ALONE), limit=1).records
        found = record.asset_materialization if passed else record.asset_observation
        assert found is not None
        return dict(found.metadata)


@pytest.mark.long
def test_working_connection_is_reported_step_by_step(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    deployment.faults.blocks_free = 50
    shown = check(deployment, "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert (found["ok"], found["warnings"]) == (True, 0)
    assert [step["name"] for step in found["steps"]] == list(STEPS)
    assert all(step["outcome"] == "passed" and step["remedy"] is None for step in found["steps"])
    detail = found["steps"][-1]["detail"]
    assert detail.startswith("1 receipt is there, backup_complete_")
    assert detail.endswith(".tar.json can be read")
    text = check(deployment)
    assert "Archives can be published." in text.stdout
    assert all(name in text.stdout for name in STEPS)


def test_manual_names_every_command_step_and_figure(deployment: Deployment) -> None:
    manual = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()
    assert set(re.findall(r"^\| `ar-sync ([\w-]+)", manual, re.MULTILINE)) == set(
        main.list_commands(Context(main))
    )
    found = json.loads(check(deployment, "--json").stdout)
    names = [*STEPS] + [name for step in found["steps"] for name in step["figures"]]
    assert [name for name in names if f"`{name}`" not in manual] == []
    of_check = manual.partition("## `ar-sync check --json`")[2]
    example = json.loads(of_check.partition("```json\n")[2].partition("```")[0])
    assert example.keys() == found.keys()
    assert example["steps"][0].keys() == found["steps"][0].keys()
    execute(deployment.sender_url, "CREATE VIEW app_view AS SELECT 1")
    found = json.loads(check(deployment, "--json").stdout)
    assert example["findings"][0].keys() == found["findings"][0].keys()


def test_findings_in_the_database_are_told_with_their_remedies(deployment: Deployment) -> None:
    execute(
        deployment.sender_url,
        "CREATE TABLE person (id int PRIMARY KEY)",
        "ALTER TABLE app_child ADD person int REFERENCES person",
        "CREATE VIEW app_view AS SELECT 1",
    )
    found = json.loads(check(deployment, "--json").stdout)
    assert (found["ok"], found["warnings"]) == (True, 2)
    assert [one["level"] for one in found["findings"]] == ["warning", "warning"]
    text = check(deployment).stdout
    assert "warning: view app_view matches `tables`" in text
    assert "with 2 warnings" in text
    execute(deployment.sender_url, "ALTER TABLE app_child ALTER changed TYPE text")
    shown = check(deployment, "--json")
    found = json.loads(shown.stdout)
    assert (shown.exit_code, found["ok"], found["findings"][0]["level"]) == (1, False, "error")
    assert "1 finding is an error." in check(deployment).stdout


def test_receiver_examines_its_own_database(deployment: Deployment) -> None:
    execute(deployment.receiver_url, "DROP TABLE app_child CASCADE")
    environment = deployment.receiver_environment()
    for words in (["check", "--json"], ["check", "--side", "receiver", "--json"]):
        shown = CliRunner().invoke(main, words, env=environment)
        assert shown.exit_code == 0, shown.output
        found = json.loads(shown.stdout)
        assert found["steps"] == []
        assert (
            "table app_child is not in the receiver's database" in found["findings"][0]["problem"]
        )
    assert "Archives can be loaded, with 1 warning." in CliRunner().invoke(
        main, ["check"], env=environment
    ).stdout  # fmt: skip


def test_failed_step_says_what_to_do_and_those_behind_it_are_not_tried(
    deployment: Deployment,
) -> None:
    deployment.sender_changes["AR_SYNC_REMOTE_BKP_FLDR"] = "/spoool"
    shown = check(deployment, "--json")
    assert shown.exit_code == 1
    found = json.loads(shown.stdout)
    outcomes = {step["name"]: step["outcome"] for step in found["steps"]}
    place = STEPS.index("spool exists")
    assert outcomes == (
        dict.fromkeys(STEPS[:place], "passed")
        | {"spool exists": "failed"}
        | dict.fromkeys(STEPS[place + 1 :], "not tried")
    )
    assert "AR_SYNC_REMOTE_BKP_FLDR" in found["steps"][place]["remedy"]
    assert not found["ok"]


def test_free_space_under_the_floor_is_a_warning_and_no_failure(deployment: Deployment) -> None:
    deployment.faults.blocks_free = 9
    shown = check(deployment, "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert (found["ok"], found["warnings"]) == (True, 1)
    assert "Archives can be published, with 1 warning." in check(deployment).stdout
    deployment.sender_changes["AR_SYNC_FREE_SPACE_FLOOR"] = "8"
    assert json.loads(check(deployment, "--json").stdout)["warnings"] == 0


def test_error_in_the_settings_is_another_exit_code(deployment: Deployment) -> None:
    deployment.sender_changes["AR_SYNC_TIME"] = "1"
    shown = check(deployment, "--json")
    assert shown.exit_code == 2
    assert "AR_SYNC_TIME" in shown.stderr


@pytest.mark.long
def test_receipts_that_are_signed_with_another_key_are_found_out(deployment: Deployment) -> None:
    deployment.receiver_changes["AR_SYNC_SIGNING_KEY"] = KEY
    deployment.sender_changes["AR_SYNC_SIGNING_KEY"] = KEY
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    assert check(deployment).exit_code == 0
    deployment.sender_changes["AR_SYNC_SIGNING_KEY"] = KEY[::-1]
    shown = check(deployment, "--json")
    assert shown.exit_code == 1
    assert "not signed with the shared key" in shown.stdout
    assert KEY[::-1] not in shown.output


@pytest.mark.long
def test_job_materializes_the_endpoint_with_numbers_that_draw_charts(
    deployment: Deployment,
) -> None:
    outcome = run_job(deployment)
    assert outcome.succeeded, outcome.failures
    metadata = latest_test(deployment, passed=True)
    numbers = {
        name: value.value
        for name, value in metadata.items()
        if isinstance(value, dg.FloatMetadataValue | dg.IntMetadataValue)
    }
    expected = {f"{step.replace(' ', '_')}_seconds" for step in STEPS} | {"clock_check_seconds"}
    expected |= {"seconds", "free_gb", "round_trip_ms", "clock_difference_seconds", "receipts"}
    assert expected <= set(numbers)
    assert "| round trip | passed |" in str(metadata["steps"].value)


def test_job_fails_with_the_step_and_its_remedy_and_fails_the_check(
    deployment: Deployment,
) -> None:
    (deployment.folder / "empty").touch()
    deployment.sender_changes["AR_SYNC_KNOWN_HOSTS"] = str(deployment.folder / "empty")
    outcome = run_job(deployment)
    assert not outcome.succeeded
    assert outcome.failures[0].startswith("host key: no host key of [127.0.0.1]:")
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        check_key = dg.AssetCheckKey(endpoint_key(ALONE), "archives_can_be_published")
        (record,) = instance.event_log_storage.get_asset_check_execution_history(check_key, limit=1)
    assert record.event is not None
    evaluation = record.event.asset_check_evaluation
    assert evaluation is not None
    assert not evaluation.passed
    assert evaluation.metadata["step"].value == "host key"
    assert latest_test(deployment, passed=False)["warnings"].value == 0


def test_check_runs_every_hour(deployment: Deployment) -> None:
    schedule = deployment.sender_definitions().resolve_schedule_def("ssh_sftp_checker_schedule")
    assert schedule.cron_schedule == "17 * * * *"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
