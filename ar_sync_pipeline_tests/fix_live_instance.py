"""A whole deployment as real processes: two code servers, web server, daemon, one control plane.

Each process can be started, stopped and killed by its name. Run workers belong to their code
server, and end when it is killed.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import psycopg
import pytest
from dagster_shared.yaml_utils import load_yaml_from_path

from ar_sync_pipeline.demo.dagster_process import (
    HOST,
    DagsterProcess,
    code_server_words,
    write_workspace,
)
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.waiting import until

ROOT = Path(__file__).parents[1]
SENDER, RECEIVER, WEBSERVER, DAEMON = "sender", "receiver", "webserver", "daemon"
_POLL_SECONDS = 0.5
Found = TypeVar("Found")

# The project's own dagster.yaml, with shorter intervals.
QUICK: Mapping[str, Any] = {
    "run_monitoring": {"poll_interval_seconds": 1, "free_slots_after_run_end_seconds": 1},
}
_LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""

_LOCATIONS = """
{
  workspaceOrError {
    ... on Workspace { locationEntries { locationOrLoadError { __typename } } }
  }
}
"""


class LiveInstance:
    """Processes of a deployment, and its Dagster instance as the test sees it."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.changes: dict[str, Any] = {name: dict(values) for name, values in QUICK.items()}
        self.ports = {name: free_port() for name in (SENDER, RECEIVER, WEBSERVER)}
        self._running: dict[str, DagsterProcess] = {}
        self._instance: dg.DagsterInstance | None = None

    @property
    def instance(self) -> dg.DagsterInstance:
        """The instance, opened at the first use; later `changes` have no effect on it."""
        if self._instance is None:
            self._write_configuration()
            self._instance = dg.DagsterInstance.from_config(str(self.deployment.home))
        return self._instance

    def start(self, *names: str) -> None:
        """Start processes with the current settings of the deployment; return when they are ready.

        Without names: all of them. Code servers are started before the daemon, because a daemon
        searches for code servers that were missing at its start only once a minute.
        """
        if not names:
            self.start(SENDER, RECEIVER)
            self.start(WEBSERVER, DAEMON)
        assert self.instance
        for name in names:
            assert name not in self._running, name
            self._running[name] = self._process(name)
            self._running[name].start()
        for name in names:
            self._running[name].wait_until_ready()
        if WEBSERVER in names:
            self.until(self._knows_all_assets, "the web server has loaded all code locations")

    def stop(self, *names: str) -> None:
        """Stop processes with a signal, as a service manager does."""
        for name in names:
            self._running.pop(name).stop()

    def kill(self, *names: str) -> None:
        """Kill processes with SIGKILL, including run workers.

        Without names it kills everything, like a power failure.
        """
        for name in names or tuple(self._running):
            self._running.pop(name).kill()

    def until(self, condition: Callable[[], Found | None], what: str, seconds: float = 60) -> Found:
        """Wait for a condition; return its first true value."""
        try:
            return until(condition, what, seconds, every=_POLL_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from error

    def graphql(self, query: str, **variables: object) -> dict[str, Any]:
        """Send a query to the web server, as the UI does; return ``data``."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        connection = http.client.HTTPConnection(HOST, self.ports[WEBSERVER], timeout=60)
        with closing(connection):
            connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def _knows_all_assets(self) -> bool:
        """Return whether the web server has loaded its code locations: it answers before that.

        A backfill that is requested before that fails with ``KeyError: AssetKey(...)``.
        """
        entries = self.graphql(_LOCATIONS)["workspaceOrError"].get("locationEntries", [])
        loaded = [(entry["locationOrLoadError"] or {}).get("__typename") for entry in entries]
        servers = len({SENDER, RECEIVER} & self._running.keys())
        return loaded.count("RepositoryLocation") == servers

    def request_run(self, side: str, job: str, tags: Mapping[str, str], **selector: object) -> str:
        """Request a run, as the UI does; return its id."""
        params = {
            "selector": {
                "repositoryLocationName": side,
                "repositoryName": "__repository__",
                "jobName": job,
                **selector,
            },
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in tags.items()]},
        }
        answer = self.graphql(_LAUNCH, params=params)["launchPipelineExecution"]
        assert "run" in answer, answer
        run_id: str = answer["run"]["runId"]
        return run_id

    def runs(self, job: str | None = None, **tags: str) -> list[dg.DagsterRun]:
        """Return the runs, oldest first."""
        return list(self.instance.get_runs(dg.RunsFilter(job_name=job, tags=tags)))[::-1]

    def times(self) -> str:
        """Return when every run was created, and the seconds until its start and its end."""
        lines = []
        for record in reversed(self.instance.get_run_records()):
            made = record.create_timestamp.timestamp()
            start, end = (t and round(t - made, 1) for t in (record.start_time, record.end_time))
            run = record.dagster_run
            span = run.tags.get("dagster/asset_partition_range_start", "")
            lines.append(
                f"{record.create_timestamp:%H:%M:%S} {start} {end} {run.status.value}"
                f" {run.job_name} {span}"
            )
        return "\n".join(lines)

    def worker_pid(self, run_id: str) -> int | None:
        """Return the process in which a run's steps are executed; None before they are."""
        events = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        for event in events:
            data = event.dagster_event.event_specific_data if event.dagster_event else None
            pid = getattr(data, "metadata", {}).get("pid")
            if pid is not None and "steps" in event.message:
                return int(pid.text)
        return None

    def story(self) -> str:
        """Return all runs and the end of every log, for a test that fails."""
        lines = [self.times()]
        for log in sorted(self.deployment.folder.glob("*.log")):
            lines += [f"--- {log.name}", log.read_text(errors="replace")[-1500:]]
        return "\n".join(lines)

    def close(self) -> None:
        """Stop everything."""
        with ExitStack() as ending:
            for process in self._running.values():
                ending.callback(process.kill)
        if self._instance is not None:
            self._instance.dispose()

    def _process(self, name: str) -> DagsterProcess:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AR_SYNC_")}
        environment["DAGSTER_HOME"] = str(self.deployment.home)
        log = self.deployment.folder / f"{name}.log"
        workspace = str(self._workspace)
        if name == DAEMON:
            return DagsterProcess(["dagster-daemon", "run", "-w", workspace], environment, log)
        port = self.ports[name]
        if name == WEBSERVER:
            words = ["dagster-webserver", "-h", HOST, "-p", str(port), "-w", workspace]
            return DagsterProcess(words, environment, log, port)
        environment |= (
            self.deployment.sender_environment()
            if name == SENDER
            else self.deployment.receiver_environment()
        )
        return DagsterProcess(code_server_words(name, port), environment, log, port)

    @property
    def _workspace(self) -> Path:
        return self.deployment.folder / "workspace.yaml"

    def _write_configuration(self) -> None:
        loaded = load_yaml_from_path(str(ROOT / "dagster.yaml"))
        assert isinstance(loaded, dict)
        # The test itself also opens the instance, without DAGSTER_HOME.
        folder = self.deployment.home / "history" / "runs"
        loaded["event_log_storage"]["config"] = {"base_dir": str(folder)}
        for section, values in self.changes.items():
            loaded[section] = {**loaded.get(section, {}), **values}
        (self.deployment.home / "dagster.yaml").write_text(json.dumps(loaded))
        write_workspace(self._workspace, {side: self.ports[side] for side in (SENDER, RECEIVER)})


@pytest.fixture
def live(deployment: Deployment) -> Iterator[LiveInstance]:
    """A deployment with windows of a minute, and no processes yet.

    A test first changes settings, then starts the processes that it needs.
    """
    deployment.change_both({"AR_SYNC_PARTIAL_INTERVAL": "1", "AR_SYNC_TIME": "3"})
    made = LiveInstance(deployment)
    yield made
    made.close()


@contextmanager
def held_up(url: str) -> Iterator[None]:
    """Lock a table, so that a run that uses it waits in the middle of its work."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE app_child IN ACCESS EXCLUSIVE MODE")
        yield
