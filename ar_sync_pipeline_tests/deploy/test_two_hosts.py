"""One control plane over two code hosts, as docs/deployment.md describes it.

Each code host has an address, settings, and a disk of its own at the path of DAGSTER_HOME. The
hosts share what the topology asks for: gRPC from the control plane, PostgreSQL from everywhere.
They reach their databases by the roles of deploy/sql.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster_shared.yaml_utils import load_yaml_from_path

from ar_sync_pipeline.demo.dagster_process import DagsterProcess, code_server_words
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_live_instance import (
    RECEIVER,
    ROOT,
    SENDER,
    LiveInstance,
)
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_roles import RoleScript
from ar_sync_pipeline_tests.fix_sites import execute, rows
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci

ADDRESSES = {SENDER: "127.0.0.2", RECEIVER: "127.0.0.3"}
CHILDREN = "SELECT * FROM app_child ORDER BY id"
STORAGE_VARIABLE = "DAGSTER_POSTGRES_URL"
# A run waits for the one that a sensor has launched, on a machine that may be busy.
_RUN_SECONDS = 150
LAUNCH = """
mutation ($selector: JobOrPipelineSelector!, $tags: [ExecutionTag!]) {
  launchRun(executionParams: {selector: $selector, executionMetadata: {tags: $tags}}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
  }
}
"""


class TwoHosts(LiveInstance):
    """Daemon and web server on one host, a code server on each of two others."""

    def __init__(self, deployment: Deployment, storage_url: str, production_url: str) -> None:
        super().__init__(deployment)
        self.storage_url = storage_url
        self.production_url = production_url
        for host in ADDRESSES:
            self.disk(host).mkdir()

    def disk(self, host: str) -> Path:
        """What a code host has at the path of DAGSTER_HOME: nothing at first."""
        return self.deployment.folder / f"disk_of_{host}"

    def run(self, host: str, job: str, **tags: str) -> dg.DagsterRun:
        """Launch a job as the UI does; returns its finished run."""
        run_id = self.launch(host, job, **tags)
        return self.until(lambda: self.finished(run_id), f"end of {job}", _RUN_SECONDS)

    def launch(self, host: str, job: str, **tags: str) -> str:
        """Launch a job as the UI does; returns the run's id."""
        selector = {
            "repositoryLocationName": host,
            "repositoryName": "__repository__",
            "pipelineName": job,
        }
        given = [{"key": key, "value": value} for key, value in tags.items()]
        launched = self.graphql(LAUNCH, selector=selector, tags=given)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def _writable(self, host: str) -> Sequence[Path]:
        """What a host writes beside its state: what its unit names in ReadWritePaths."""
        folder = self.deployment.folder
        if host == SENDER:
            return [folder / "scratch"]
        return [self.deployment.spool, folder / "receiver_media"]

    def finished(self, run_id: str) -> dg.DagsterRun | None:
        """The run, if it has ended."""
        run = self.instance.get_run_by_id(run_id)
        return run if run is not None and run.is_finished else None

    def at_work(self, run_id: str) -> bool:
        """Whether a run's worker has begun."""
        run = self.instance.get_run_by_id(run_id)
        begun = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS)
        return run is not None and run.status in begun

    def ask_to_end(self, host: str) -> None:
        """What stopping a host's unit does at first."""
        self._running[host].ask_to_end()

    def _process(self, name: str) -> DagsterProcess:
        process = super()._process(name)
        process.environment = {**process.environment, STORAGE_VARIABLE: self.storage_url}
        if name not in ADDRESSES:
            return process
        return replace(
            process,
            words=code_server_words(name, self.ports[name], ADDRESSES[name]),
            address=ADDRESSES[name],
            environment={**process.environment, "TMPDIR": str(self.deployment.home)},
            inside=_confined(self.disk(name), self.deployment.home, self._writable(name)),
        )

    def _write_configuration(self) -> None:
        loaded = load_yaml_from_path(str(ROOT / "dagster.postgres.yaml"))
        assert isinstance(loaded, dict)
        (self.deployment.home / "dagster.yaml").write_text(json.dumps(loaded))
        workspace = load_yaml_from_path(str(ROOT / "deploy/workspace/control_plane.yaml"))
        assert isinstance(workspace, dict)
        for entry in workspace["load_from"]:
            server = entry["grpc_server"]
            name = server["location_name"]
            server |= {"host": ADDRESSES[name], "port": self.ports[name]}
        self._workspace.write_text(json.dumps(workspace))


# As the units of deploy/systemd do: one disk at the path of DAGSTER_HOME, a few folders that may
# be written, everything else read-only, and no rights beyond those of an ordinary account.
_CONFINED = """
disk=$1 home=$2 count=$3; shift 3
mount --bind "$disk" "$home"
while [ "$count" -gt 0 ]; do mount --bind "$1" "$1"; shift; count=$((count - 1)); done
mount -o remount,bind,ro /
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


def _confined(disk: Path, home: Path, writable: Sequence[Path]) -> Sequence[str]:
    given = [str(disk), str(home), str(len(writable)), *map(str, writable)]
    return ("unshare", "--mount", "sh", "-ec", _CONFINED, "confined", *given)


@pytest.fixture
def hosts(
    deployment: Deployment,
    database_factory: DatabaseFactory,
    role_script: RoleScript,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[TwoHosts]:
    tried = shutil.which("unshare") and subprocess.run(
        ["unshare", "--mount", "true"], capture_output=True, check=False
    )
    if not tried or tried.returncode or os.geteuid() != 0:
        skip_unless_in_ci("hosts with disks of their own need root and the right to unshare mounts")
    storage_url = database_factory()
    monkeypatch.setenv(STORAGE_VARIABLE, storage_url)
    production_url = deployment.sender_url
    deployment.sender_url = role_script("sender", production_url, tables="app_*")
    deployment.receiver_url = role_script("receiver", deployment.receiver_url, tables="app_*")
    made = TwoHosts(deployment, storage_url, production_url)
    yield made
    made.close()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_control_plane_runs_dumps_and_loads_on_the_hosts_that_they_belong_to(
    hosts: TwoHosts,
) -> None:
    deployment = hosts.deployment
    hosts.start()
    complete = hosts.run(SENDER, "complete_dump")
    execute(hosts.production_url, "UPDATE app_child SET amount = -1 WHERE id = 9")
    windows = deployment.sender_definitions().resolve_job_def("partial_dump").partitions_def
    assert windows is not None
    window = str(windows.get_last_partition_key())
    partial = hosts.run(SENDER, "partial_dump", **{"dagster/partition": window})
    # Schedules and sensors are evaluated on the hosts too.
    ticked = {state.name for state in hosts.instance.all_instigator_state()}
    assert {"new_complete_archives", "new_partial_archives"} <= ticked
    # An upgrade of the receiver in the middle of a load waits for it.
    load = hosts.launch(RECEIVER, "complete_loaddata")
    hosts.until(lambda: hosts.at_work(load), "the load has begun", _RUN_SECONDS)
    hosts.ask_to_end(RECEIVER)
    loaded = hosts.until(lambda: hosts.finished(load), "end of the load", _RUN_SECONDS)
    assert [run.status.value for run in (complete, partial, loaded)] == ["SUCCESS"] * 3
    assert rows(deployment.receiver_url, CHILDREN) == rows(deployment.sender_url, CHILDREN)
    # What runs print stays on their hosts; what they record is in the shared storage.
    assert hosts.disk(SENDER).joinpath("storage", complete.run_id, "compute_logs").is_dir()
    assert hosts.disk(RECEIVER).joinpath("storage", loaded.run_id, "compute_logs").is_dir()
    assert not deployment.home.joinpath("storage", complete.run_id).exists()
    assert rows(hosts.storage_url, "SELECT count(*) >= 3 FROM runs") == [(True,)]
