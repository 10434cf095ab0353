"""A process ends with its run, even if it ignores signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from ar_sync_pipeline.operations.runs.watched_executor import WatchedExecutor, shared_executor
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


@dg.op
def short() -> None:
    pass


@dg.job(executor_def=dg.ExecutorDefinition.hardcoded_executor(WatchedExecutor()))
def short_job() -> None:
    short()


@pytest.mark.long
def test_retry_has_none_of_the_time_that_the_run_before_it_got(tmp_path: Path) -> None:
    tags = {"dagster/max_runtime": "262800", "ar_sync/max_runtime_before": "its-id 21600"}
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
        dg.execute_job(dg.reconstructable(short_job), instance, tags=tags) as result,
    ):
        run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/max_runtime"] == "21600"


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
