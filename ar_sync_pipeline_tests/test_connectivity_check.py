"""The road to the receiver, from Dagster and from a shell: what fails is named, with what to do."""

from __future__ import annotations

import json

import dagster as dg
from click.testing import CliRunner, Result

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.operations.asset_keys import receiver_endpoint_key
from ar_sync_pipeline.sftp.probe import STEPS
from ar_sync_pipeline_tests.fix_dagster import Deployment


def check(deployment: Deployment, *words: str) -> Result:
    return CliRunner().invoke(main, ["check", *words], env=deployment.sender_environment())


def run_job(deployment: Deployment) -> dg.ExecuteInProcessResult:
    job = deployment.sender_definitions().resolve_job_def("ssh_sftp_checker")
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        return job.execute_in_process(instance=instance, raise_on_error=False)


def test_job_observes_the_endpoint_with_numbers_that_draw_charts(deployment: Deployment) -> None:
    result = run_job(deployment)
    assert result.success
    (observed,) = [
        event.asset_observation_data.asset_observation
        for event in result.all_events
        if event.event_type_value == "ASSET_OBSERVATION"
    ]
    assert observed.asset_key == receiver_endpoint_key()
    numbers = {
        name: value.value
        for name, value in observed.metadata.items()
        if isinstance(value.value, int | float)
    }
    assert {"total_ms", "connect_ms", "login_ms", "spool_writable_ms"} <= set(numbers)
    assert {"free_gb", "clock_difference_seconds", "receipts"} <= set(numbers)
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.passed
    assert [p for p in deployment.spool.rglob("*") if p.is_file()] == []


def test_job_fails_with_the_step_and_what_to_do(deployment: Deployment) -> None:
    deployment.sender_changes["AR_SYNC_REMOTE_USER"] = "stranger"
    result = run_job(deployment)
    assert not result.success
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.description is not None
    assert evaluation.description.startswith("login: ")
    assert "authorized_keys" in evaluation.description


def test_job_runs_every_hour(deployment: Deployment) -> None:
    schedule = deployment.sender_definitions().resolve_schedule_def("ssh_sftp_checker_schedule")
    assert schedule.cron_schedule == "7 * * * *"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


def test_command_shows_every_step_with_its_time(deployment: Deployment) -> None:
    shown = check(deployment, "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert found["ok"]
    assert [step["name"] for step in found["steps"]] == list(STEPS)
    assert "clock difference" in check(deployment).stdout


def test_command_names_the_step_that_fails_and_those_not_tried(deployment: Deployment) -> None:
    deployment.sender_changes["AR_SYNC_REMOTE_BKP_FLDR"] = "/elsewhere"
    shown = check(deployment)
    assert shown.exit_code == 1
    assert "/elsewhere" in shown.stdout
    assert shown.stdout.count("not tried") == 4


def test_mistakes_in_the_settings_are_named(deployment: Deployment) -> None:
    deployment.sender_changes["AR_SYNC_REMOTE_PORT"] = "ssh"
    shown = check(deployment)
    assert shown.exit_code == 2
    assert "AR_SYNC_REMOTE_PORT" in shown.stderr
