"""Runs on Celery: each on the worker of its side; a killed one is retried, a terminated one not."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import redis
from dagster_shared.yaml_utils import load_yaml_from_path

from ar_sync_pipeline.demo.dagster_process import HOST, DagsterProcess
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.operations.pair_names import QUEUE_TAG, queue_of
from ar_sync_pipeline_tests.end_to_end.test_crashes import Line, windows_of_yesterday
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_live_instance import RECEIVER, SENDER, LiveInstance, held_up
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci
from ar_sync_pipeline_tests.waiting import until

ROOT = Path(__file__).parents[2]
_TERMINATE = """
mutation ($runId: String!) { terminateRun(runId: $runId) { __typename } }
"""
_WORKER = re.compile(r"^celery -A dagster_celery.app worker (.*)$", re.MULTILINE)
_SENSOR_AND_LOAD_SECONDS = 180
_RETRY_WOULD_COME_WITHIN_SECONDS = 15


@dataclass
class CeleryLine(Line):
    """A live deployment whose runs are executed by one worker of Celery for each side."""

    workers: dict[str, DagsterProcess]

    def terminate(self, run_id: str) -> None:
        """End a run as the UI does."""
        answer = self.live.graphql(_TERMINATE, runId=run_id)
        assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """Run Redis on loopback."""
    program = shutil.which("redis-server")
    if program is None:
        skip_unless_in_ci("no redis-server is installed")
    port = free_port()
    words = [program, "--port", str(port), "--bind", HOST, "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(HOST, port)
        until(lambda: _answers(client), "Redis answers", 20)
        client.close()
        yield f"redis://{HOST}:{port}/0"
    finally:
        process.kill()
        process.wait()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture
def line(live: LiveInstance, broker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CeleryLine]:
    """Two equal, quiet sides: windows are hours, so schedules hardly request runs."""
    deployment = live.deployment
    deployment.change_both({"AR_SYNC_PARTIAL_INTERVAL": "60", "AR_SYNC_TIME": "120"})
    deployment.receiver_changes["AR_SYNC_MAX_LAG"] = "120"
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    for variable in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(variable, broker)
    live.changes["run_launcher"] = launcher_of_the_file()
    live.start()
    with ExitStack() as stack:
        workers = {side: worker(deployment, side) for side in (SENDER, RECEIVER)}
        for process in workers.values():
            process.start()
            stack.callback(process.kill)
        yield CeleryLine(live, workers)


def launcher_of_the_file() -> dict[str, Any]:
    loaded = load_yaml_from_path(str(ROOT / "deploy" / "celery" / "dagster.yaml"))
    assert isinstance(loaded, dict)
    found: dict[str, Any] = loaded["run_launcher"]
    return found


def worker(deployment: Deployment, side: str) -> DagsterProcess:
    """Return the worker of a side, with the settings of this side alone."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AR_SYNC_")}
    settings = getattr(deployment, f"{side}_environment")()
    return DagsterProcess(
        ["celery", "-A", "dagster_celery.app", "worker", *worker_options(side)],
        {**clean, **settings, "DAGSTER_HOME": str(deployment.home)},
        deployment.folder / f"worker_{side}.log",
    )


def worker_options(queue: str) -> list[str]:
    """Return the options of the manual's command, for this queue."""
    (line,) = _WORKER.findall((ROOT / "docs" / "many_pairs.md").read_text())
    return [word.replace("santiago_sender", queue) for word in line.split()]


def test_instance_differs_from_that_of_other_hosts_in_its_launcher_alone() -> None:
    here = load_yaml_from_path(str(ROOT / "deploy" / "celery" / "dagster.yaml"))
    elsewhere = load_yaml_from_path(str(ROOT / "dagster.postgres.yaml"))
    assert isinstance(here, dict)
    assert isinstance(elsewhere, dict)
    assert here.pop("run_launcher") != elsewhere.pop("run_launcher")
    assert here == elsewhere


@pytest.mark.parametrize("pair", ["", "lima"])
def test_queue_of_a_run_without_a_job_is_the_one_of_the_jobs(
    deployment: Deployment, pair: str
) -> None:
    deployment.pair = pair
    for side in (SENDER, RECEIVER):
        definitions = getattr(deployment, f"{side}_definitions")()
        queues = {
            job.run_tags[QUEUE_TAG]
            for job in definitions.get_repository_def().get_all_jobs()
            if not job.name.startswith("__")
        }
        assert queues == {f"{pair}_{side}".lstrip("_")}
        keys = definitions.resolve_asset_graph().materializable_asset_keys
        assert {queue_of(key) for key in keys} == queues


def test_runs_of_other_assets_keep_their_own_queue() -> None:
    for path in (["orders"], ["shop", "orders"], ["shop"]):
        assert queue_of(dg.AssetKey(path)) is None


@pytest.mark.long
@pytest.mark.timeout(900)
def test_runs_are_executed_by_the_workers_of_their_side(line: CeleryLine) -> None:
    """One deployment for all cases, because its start takes longer than the cases."""
    run_from_the_ui_lands_on_the_worker_of_its_side(line)
    run_that_is_terminated_stays_terminated(line)
    run_whose_process_was_killed_is_retried(line)
    run_whose_worker_was_killed_is_retried(line)
    line.live.until(line.pools_are_free, "all pools are free")


def run_from_the_ui_lands_on_the_worker_of_its_side(line: CeleryLine) -> None:
    line.change()
    selection = [{"path": key.path} for key in line.live.deployment.partial_assets()]
    run_id = line.live.request_run(
        SENDER, "__ASSET_JOB", windows_of_yesterday(), assetSelection=selection
    )
    # Only its worker has the settings of its side.
    dump = line.ends(run_id, dg.DagsterRunStatus.SUCCESS)
    line.live.until(line.is_equal, "what was dumped is loaded", _SENSOR_AND_LOAD_SECONDS)
    load = line.live.runs("partial_loaddata")[-1]
    assert (dump.tags[QUEUE_TAG], load.tags[QUEUE_TAG]) == ("sender", "receiver")


def run_that_is_terminated_stays_terminated(line: CeleryLine) -> None:
    with held_up(line.sender):
        line.ask_for_dump()
        run_id, _ = line.at_work("partial_dump", line.sender)
        line.terminate(run_id)
        line.ends(run_id, dg.DagsterRunStatus.CANCELED)
    time.sleep(_RETRY_WOULD_COME_WITHIN_SECONDS)
    line.ends(run_id, dg.DagsterRunStatus.CANCELED)
    assert line.live.runs(**{"dagster/parent_run_id": run_id}) == []


def run_whose_process_was_killed_is_retried(line: CeleryLine) -> None:
    with held_up(line.sender):
        line.ask_for_dump()
        run_id, pid = line.at_work("partial_dump", line.sender)
        os.kill(pid, signal.SIGKILL)
        line.ends(run_id, dg.DagsterRunStatus.FAILURE)
    line.is_retried(run_id)


def run_whose_worker_was_killed_is_retried(line: CeleryLine) -> None:
    """The host of the sender is switched off and on again."""
    line.change()
    with held_up(line.sender):
        line.ask_for_dump()
        run_id, _ = line.at_work("partial_dump", line.sender)
        line.workers[SENDER].kill()
    line.workers[SENDER].start()
    line.ends(run_id, dg.DagsterRunStatus.FAILURE)
    line.is_retried(run_id)
    line.live.until(line.is_equal, "what was dumped is loaded", _SENSOR_AND_LOAD_SECONDS)
