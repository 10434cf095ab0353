"""A run whose code server is unreachable: not touched for some minutes, then given up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline.demo.dagster_process import HOST, free_port
from ar_sync_pipeline.operations.runs import watched_launcher
from ar_sync_pipeline.operations.runs.watched_launcher import WatchedRunLauncher


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as made:
        yield made


@pytest.fixture
def launcher(instance: dg.DagsterInstance) -> WatchedRunLauncher:
    made = WatchedRunLauncher()
    made.register_instance(instance)
    return made


def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Make a run of a code server that does not exist."""
    place = json.dumps({"host": HOST, "port": free_port()})
    run: dg.DagsterRun = create_run_for_test(
        instance,
        job_name="partial_dump",
        status=dg.DagsterRunStatus.STARTED,
        tags={GRPC_INFO_TAG: place},
    )
    return run


def test_silent_code_server_keeps_its_run_for_some_minutes_only(
    instance: dg.DagsterInstance, launcher: WatchedRunLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = started(instance), started(instance)
    for _ in range(2):
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    assert watched_launcher.SILENT_SECONDS == 600
    with monkeypatch.context() as minutes_later:
        minutes_later.setattr(watched_launcher, "SILENT_SECONDS", 0)
        found = launcher.check_run_worker_health(run)
    assert found.status is WorkerStatus.NOT_FOUND
    assert "its code server has not answered for" in str(found.msg)
    # The minutes are counted for each run.
    assert launcher.check_run_worker_health(other).status is WorkerStatus.RUNNING
