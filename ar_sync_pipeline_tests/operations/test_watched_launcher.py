"""A run whose code server is unreachable: not touched for some minutes, then given up."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.op_concurrency_limits_counter import GlobalOpConcurrencyLimitsCounter
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES, RunOpConcurrency
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget, GrpcServerTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import (
    QueuedRunCoordinatorDaemon,
)
from dagster_shared.yaml_utils import load_yaml_from_path

from ar_sync_pipeline.demo.dagster_process import HOST, DagsterProcess
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.operations.runs import own_process, watched_launcher
from ar_sync_pipeline.operations.runs.celery_launcher import WatchedCeleryRunLauncher
from ar_sync_pipeline.operations.runs.kubernetes_launcher import WatchedK8sRunLauncher
from ar_sync_pipeline.operations.runs.own_process import PROCESS_TAG, name_process
from ar_sync_pipeline.operations.runs.watched_launcher import WatchedRunLauncher, queue_findings
from ar_sync_pipeline.postgres.checks.findings import Level
from ar_sync_pipeline_tests.alerts.watched import ORIGIN
from ar_sync_pipeline_tests.operations import draining_server, unresponsive_run
from ar_sync_pipeline_tests.waiting import until


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


def at_work(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Return the run of `unresponsive_run` when its step is at work."""

    def begun() -> dg.DagsterRun | None:
        for run in instance.get_runs():
            if instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START):
                return run
        return None

    return newest(instance, until(begun, "the run has started"))


def newest(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    """Return a run with the tags that it has now."""
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def here(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Return a run of a command line, whose process is this one."""
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    name_process(instance, run)
    return newest(instance, run)


@pytest.mark.long
def test_run_of_a_command_line_is_gone_as_soon_as_its_process_is(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, unresponsive_run.__file__, str(tmp_path)])
    try:
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            launcher = WatchedRunLauncher()
            launcher.register_instance(instance)
            run = at_work(instance)
            assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
            process.kill()
            # Whether or not somebody has asked for its exit code.
            until(lambda: not is_there(process.pid), "it is a zombie")
            found = launcher.check_run_worker_health(run)
            process.wait()
            assert launcher.check_run_worker_health(run) == found
            here(instance)
            assert newest(instance, run).status is dg.DagsterRunStatus.FAILURE
    finally:
        process.kill()
        process.wait()
    assert found.status is WorkerStatus.NOT_FOUND
    assert "the process that a command line started has ended" in str(found.msg)


def is_there(process_id: int) -> bool:
    """Return whether a child has not ended, without asking for its exit code."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process_id, flags) is None


def named(run: dg.DagsterRun, place: str | None = None, started_at: str | None = None) -> str:
    """Return the tag of a run that is at work in this process, or that seems to be."""
    named_place, process_id, at = run.tags[PROCESS_TAG].rsplit(" ", 2)
    return f"{place or named_place} {process_id} {started_at or at}"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, WorkerStatus.RUNNING),
        ({"started_at": "1"}, WorkerStatus.NOT_FOUND),
        ({"place": "other pid:[1]", "started_at": "1"}, WorkerStatus.RUNNING),
    ],
    ids=["this process", "another process with its id", "a process of another host"],
)
def test_process_is_told_from_others(
    instance: dg.DagsterInstance,
    launcher: WatchedRunLauncher,
    changes: dict[str, str],
    status: WorkerStatus,
) -> None:
    run = here(instance)
    run = run.with_tags({PROCESS_TAG: named(run, **changes)})
    assert launcher.check_run_worker_health(run).status is status


@pytest.mark.parametrize("there", ["container", "host"])
@pytest.mark.parametrize("told_by", ["_MACHINE", "_BOOT"])
def test_process_of_another_host_of_the_same_name_counts_as_running(
    instance: dg.DagsterInstance,
    launcher: WatchedRunLauncher,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    there: str,
    told_by: str,
) -> None:
    """A run that is failed is killed: none at work may be. A reboot ends all runs of its host."""
    namespace = str(Path("/proc/self/ns/pid").readlink())
    monkeypatch.setattr(own_process, "_OF_HOST", namespace if there == "host" else "pid:[1]")
    for name in ("_MACHINE", "_BOOT"):
        monkeypatch.setattr(own_process, name, tmp_path / name)
        (tmp_path / name).write_text("a\n")
    run = here(instance)
    run = run.with_tags({PROCESS_TAG: named(run, started_at="1")})
    assert launcher.check_run_worker_health(run).status is WorkerStatus.NOT_FOUND
    (tmp_path / told_by).write_text("b\n")
    is_elsewhere = (there, told_by) in {("host", "_MACHINE"), ("container", "_BOOT")}
    status = WorkerStatus.RUNNING if is_elsewhere else WorkerStatus.NOT_FOUND
    assert launcher.check_run_worker_health(run).status is status


def test_host_without_a_machine_id_is_known_by_its_boot(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    namespace = str(Path("/proc/self/ns/pid").readlink())
    monkeypatch.setattr(own_process, "_OF_HOST", namespace)
    monkeypatch.setattr(own_process, "_MACHINE", tmp_path / "none")
    monkeypatch.setattr(own_process, "_BOOT", tmp_path / "boot")
    (tmp_path / "boot").write_text("b\n")
    assert f" b {namespace} " in here(instance).tags[PROCESS_TAG]


def test_next_run_of_a_command_line_fails_those_whose_process_has_ended(
    instance: dg.DagsterInstance,
) -> None:
    """Without a daemon they were "started" for ever, and their build folders stayed."""
    gone, works, elsewhere = (here(instance) for _ in range(3))
    instance.add_run_tags(gone.run_id, {PROCESS_TAG: named(gone, started_at="1")})
    far = named(elsewhere, place="other pid:[1]", started_at="1")
    instance.add_run_tags(elsewhere.run_id, {PROCESS_TAG: far})
    others = [works, elsewhere, started(instance), here(instance)]
    assert newest(instance, gone).status is dg.DagsterRunStatus.FAILURE
    states = {newest(instance, run).status for run in others}
    assert states == {dg.DagsterRunStatus.STARTED}
    (failure,) = instance.all_logs(gone.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert failure.dagster_event is not None
    assert "has ended" in str(failure.dagster_event.message)


def test_run_that_ends_meanwhile_is_not_failed(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process ends after its success is recorded."""
    run = here(instance)

    def end(*_: object) -> bool:
        if newest(instance, run).status is dg.DagsterRunStatus.STARTED:
            succeeded = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name)
            instance.report_dagster_event(succeeded, run.run_id)
        return False

    monkeypatch.setattr(own_process, "_exists", end)
    here(instance)
    assert newest(instance, run).status is dg.DagsterRunStatus.SUCCESS


def test_process_of_another_user_counts_as_there_although_systemd_hides_it(
    instance: dg.DagsterInstance, launcher: WatchedRunLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    def hide(*_: object) -> None:
        raise FileNotFoundError

    run = here(instance)
    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr(own_process, "_facts", hide)
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING


def test_run_that_is_launched_again_with_the_tags_of_one_of_a_command_line_is_at_work(
    instance: dg.DagsterInstance, launcher: WatchedRunLauncher
) -> None:
    """As "Re-execute" in the UI does: the process of the tag is not its own."""
    run = create_run_for_test(
        instance,
        status=dg.DagsterRunStatus.STARTED,
        tags={PROCESS_TAG: "viz pid:[1] 1 1"},
        remote_job_origin=ORIGIN,
    )
    name_process(instance, run)
    assert newest(instance, run).tags[PROCESS_TAG] == "viz pid:[1] 1 1"
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING


def test_run_of_a_command_line_is_no_error_of_the_other_launchers(
    instance: dg.DagsterInstance,
) -> None:
    """They know nothing of it: Celery no task, Kubernetes no Job."""
    run = here(instance)
    for kind in (WatchedCeleryRunLauncher, WatchedK8sRunLauncher):
        other = kind.__new__(kind)
        assert other.check_run_worker_health(run).status is WorkerStatus.RUNNING


ROOT = Path(__file__).parents[2]
_POOL = "lima_sender_partial"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Make a DAGSTER_HOME with the project's own `dagster.yaml`."""
    loaded = load_yaml_from_path(str(ROOT / "dagster.yaml"))
    assert isinstance(loaded, dict)
    loaded["event_log_storage"]["config"] = {"base_dir": str(tmp_path / "history" / "runs")}
    (tmp_path / "dagster.yaml").write_text(json.dumps(loaded))
    return tmp_path


def in_pool(status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """Make a run that needs the pool, of a code host that is switched off."""
    place = json.dumps({"host": HOST, "port": free_port()})
    pool = RunOpConcurrency(
        root_key_counts={_POOL: 1}, has_unconstrained_root_nodes=False, all_pools={_POOL}
    )
    return dg.DagsterRun(
        job_name="lima_partial_dump",
        status=status,
        tags={GRPC_INFO_TAG: place},
        run_op_concurrency=pool,
    )


def is_blocked(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether the queue would let a run wait for its pool."""
    pools = instance.get_concurrency_config().pool_config
    counter = GlobalOpConcurrencyLimitsCounter(
        instance,
        [run],
        instance.get_run_records(dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES)),
        instance.event_log_storage.get_concurrency_keys(),
        instance.event_log_storage.get_pool_limits(),
        pool_granularity=pools.pool_granularity,
    )
    return counter.is_blocked(run)


@pytest.mark.long
def test_code_host_that_is_gone_frees_its_pool_slot_in_minutes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        lost = instance.add_run(in_pool(dg.DagsterRunStatus.STARTED))
        waiting = in_pool(dg.DagsterRunStatus.NOT_STARTED)
        instance.event_log_storage.initialize_concurrency_limit_to_default(_POOL)

        def monitor() -> dg.DagsterRunStatus:
            with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace:
                problems = execute_run_monitoring_iteration(workspace, logging.getLogger("test"))
                assert [problem for problem in problems if problem] == []
            found = instance.get_run_by_id(lost.run_id)
            assert found is not None
            return found.status

        assert monitor() is dg.DagsterRunStatus.STARTED
        assert is_blocked(instance, waiting)
        monkeypatch.setattr(watched_launcher, "SILENT_SECONDS", 0)
        assert monitor() is dg.DagsterRunStatus.FAILURE
        assert not is_blocked(instance, waiting)
        # Minutes: the silence, and how often the daemon looks.
        assert instance.run_monitoring_poll_interval_seconds <= 60


@pytest.fixture
def draining(home: Path) -> Iterator[WorkspaceProcessContext]:
    """Yield the workspace of a code server that ends as soon as its only run has ended."""
    held, port = home / "held", free_port()
    held.touch()
    server = DagsterProcess(
        ["dagster", "api", "grpc", "-f", draining_server.__file__, "-h", HOST, "-p", str(port)],
        {**os.environ, "DAGSTER_HOME": str(home), "HELD_BY": str(held)},
        home / "server.log",
        port,
    )
    server.start()
    server.wait_until_ready()
    target = GrpcServerTarget(host=HOST, port=port, socket=None, location_name="sender")
    try:
        with (
            dg.DagsterInstance.from_config(str(home)) as instance,
            WorkspaceProcessContext(instance, target) as workspace,
        ):
            submit(workspace)
            dequeue(workspace)
            at_work(instance)
            # What SIGTERM asks for as well, but this has an answer.
            location = workspace.create_request_context().get_code_location("sender")
            assert isinstance(location, GrpcServerCodeLocation)
            location.client.shutdown_server()
            yield workspace
            held.unlink()
    finally:
        server.stop()


def submit(workspace: WorkspaceProcessContext) -> str:
    """Let a run of the server's job wait in the queue."""
    request = workspace.create_request_context()
    location = request.get_code_location("sender")
    job = location.get_repository("__repository__").get_full_job("held_job")
    run = create_run_for_test(
        workspace.instance,
        job_name="held_job",
        status=dg.DagsterRunStatus.NOT_STARTED,
        remote_job_origin=job.get_remote_origin(),
        job_code_origin=job.get_python_origin(),
    )
    workspace.instance.submit_run(run.run_id, request)
    return str(run.run_id)


def dequeue(workspace: WorkspaceProcessContext) -> None:
    """Let the daemon launch the runs of the queue, if it waits for no code server."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    errors = [error for error in daemon.run_iteration(workspace) if error]
    assert errors == []


def test_run_waits_in_the_queue_while_its_code_server_ends_after_its_last_run(
    draining: WorkspaceProcessContext,
) -> None:
    """As `systemctl restart` while a complete is at work: the server answers and starts no run."""
    run_id = submit(draining)
    dequeue(draining)
    run = draining.instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.QUEUED


def test_queue_waits_as_long_as_systemd_lets_a_code_server_drain() -> None:
    unit = (ROOT / "deploy/systemd/ar-sync-sender.service").read_text()
    (minutes,) = re.findall(r"^TimeoutStopSec=(\d+)min$", unit, re.MULTILINE)
    for name in ("dagster.yaml", "dagster.postgres.yaml"):
        loaded = load_yaml_from_path(str(ROOT / name))
        assert isinstance(loaded, dict)
        queue = loaded["run_queue"]
        waits = queue["max_user_code_failure_retries"] * queue["user_code_failure_retry_delay"]
        assert waits > 60 * int(minutes)


@pytest.mark.parametrize(("retries", "is_named"), [(40, False), (10, True), (0, True)])
def test_queue_that_an_upgrade_left_impatient_is_named(
    tmp_path: Path, retries: int, is_named: bool
) -> None:
    loaded = load_yaml_from_path(str(ROOT / "dagster.yaml"))
    assert isinstance(loaded, dict)
    queue = loaded["run_queue"] | {"max_user_code_failure_retries": retries}
    settings = {"run_queue": queue, "run_launcher": loaded["run_launcher"]}
    (tmp_path / "dagster.yaml").write_text(json.dumps(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        found = queue_findings(made)
    assert [one.level for one in found] == [Level.NOTE] * is_named
    assert all("max_user_code_failure_retries: 40" in str(one) for one in found)


def test_queue_of_another_launcher_is_its_own(instance: dg.DagsterInstance) -> None:
    """Where runs are tasks or Jobs, no code server waits for them when it is restarted."""
    assert queue_findings(instance) == []
