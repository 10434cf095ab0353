"""A process ends with its run, even if it ignores signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from ar_sync_pipeline.operations.runs.watched_executor import shared_executor
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.operations import spread_job, unresponsive_run
from ar_sync_pipeline_tests.waiting import until


@pytest.mark.long
def test_process_that_does_not_listen_is_ended_by_force_once_its_run_is_over(
    tmp_path: Path,
) -> None:
    process = subprocess.Popen([sys.executable, unresponsive_run.__file__, str(tmp_path)])
    try:
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            run = started(instance)
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2)
            instance.report_run_failed(run)
            assert process.wait(20) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()


def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Return the run when its step is running."""

    def with_step() -> dg.DagsterRun | None:
        for run in instance.get_runs():
            if instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START):
                return run
        return None

    return until(with_step, "the run has started")


@pytest.mark.long
def test_job_with_an_executor_that_spreads_steps_is_refused(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in deployment.sender_environment().items():
        monkeypatch.setenv(name, value)
    job = dg.reconstructable(spread_job.spread_job)
    with (
        dg.DagsterInstance.from_config(str(deployment.home)) as instance,
        dg.execute_job(job, instance) as result,
    ):
        (failed,) = (event.step_failure_data for event in result.get_step_failure_events())
        assert not result.success
    said = failed.user_failure_data
    assert said is not None
    assert "the executor multiprocess of the job spread spreads its steps" in str(said.description)
    assert list(deployment.spool.glob("complete/NEW_*")) == []
    assert list((deployment.folder / "scratch").iterdir()) == []


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_every_job_of_a_code_location_is_executed_in_one_process(
    deployment: Deployment, side: str
) -> None:
    definitions: dg.Definitions = getattr(deployment, f"{side}_definitions")()
    jobs = definitions.get_repository_def().get_all_jobs()
    assert len(jobs) > 3
    for job in jobs:
        make = job.executor_def.executor_creation_fn
        assert make is not None
        assert make(None) is shared_executor()  # type: ignore[arg-type]
