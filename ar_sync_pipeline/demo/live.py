"""The demo with everything on: code servers, daemon, Dagster UI, and traffic that never rests."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from rich.console import Console

from ar_sync_pipeline.demo.dagster_process import (
    HOST,
    DagsterProcess,
    code_server_words,
    free_port,
    write_workspace,
)
from ar_sync_pipeline.demo.traffic import Traffic
from ar_sync_pipeline.demo.two_servers import TwoServers, two_servers
from ar_sync_pipeline.operations.runs.local_runs import LocalRuns
from ar_sync_pipeline.sender.definitions import sender_definitions
from ar_sync_pipeline.settings import load_sender_settings

_INTERVAL_MINUTES = 1
_BURST_SECONDS = 20


def run_live(folder: Path, port: int, console: Console, *, seconds: float | None = None) -> None:
    """Run both servers with all schedules and sensors on until interrupted.

    Args:
        port: of the Dagster UI.
        seconds: how long; None: until Ctrl-C.

    Raises:
        DemoRunError: a process of the demo did not start.
    """
    with live_servers(folder, port, console) as servers:
        console.print(f"Dagster UI: http://{HOST}:{port}  (Ctrl-C ends the demo)")
        console.print(
            f"Everything lies in {servers.folder}; production changes every"
            f" {_BURST_SECONDS} s, windows are {_INTERVAL_MINUTES} min long."
        )
        _keep_production_busy(servers, console, seconds)


@contextmanager
def live_servers(folder: Path, port: int, console: Console) -> Iterator[TwoServers]:
    """Both servers with code servers, daemon and UI; a first complete has been sent.

    Raises:
        DemoRunError: a process of the demo did not start.
    """
    with ExitStack() as running:
        servers = running.enter_context(two_servers(folder, interval_minutes=_INTERVAL_MINUTES))
        write_instance(servers.dagster_home)
        console.print("Dumping the first complete")
        with LocalRuns(servers.dagster_home) as runs:
            settings = load_sender_settings(servers.sender_environment())
            runs.run(sender_definitions(settings), "complete_dump")
        for process in _processes(servers, port):
            running.enter_context(_running(process))
        yield servers


def write_instance(home: Path) -> None:
    """The instance of the demo: as the product's ``dagster.yaml``, without its long limits."""
    settings = {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
        "run_queue": {"dequeue_interval_seconds": 1},
        "concurrency": {"pools": {"granularity": "run", "default_limit": 1}},
        "run_monitoring": {"enabled": True, "poll_interval_seconds": 30},
        "run_retries": {
            "enabled": True,
            "max_retries": 1,
            "retry_on_asset_or_op_failure": False,
        },
        "run_launcher": {
            "module": "ar_sync_pipeline.operations.runs.watched_launcher",
            "class": "WatchedRunLauncher",
        },
        "event_log_storage": {
            "module": "ar_sync_pipeline.operations.runs.batched_events",
            "class": "BatchedSqliteEventLogStorage",
            "config": {"base_dir": str(home / "history" / "runs")},
        },
    }
    (home / "dagster.yaml").write_text(json.dumps(settings), encoding="utf-8")


def _processes(servers: TwoServers, port: int) -> Iterator[DagsterProcess]:
    ports = {"sender": free_port(), "receiver": free_port()}
    environments = {
        "sender": servers.sender_environment(),
        "receiver": servers.receiver_environment(),
    }
    workspace = servers.folder / "workspace.yaml"
    write_workspace(workspace, ports)
    base = {**os.environ, "DAGSTER_HOME": str(servers.dagster_home)}
    for side, code_port in ports.items():
        yield DagsterProcess(
            code_server_words(side, code_port),
            base | environments[side],
            servers.folder / f"code_server_{side}.log",
            code_port,
        )
    yield DagsterProcess(
        ["dagster-webserver", "-h", HOST, "-p", str(port), "-w", str(workspace)],
        base,
        servers.folder / "webserver.log",
        port,
    )
    yield DagsterProcess(
        ["dagster-daemon", "run", "-w", str(workspace)], base, servers.folder / "daemon.log"
    )


@contextmanager
def _running(process: DagsterProcess) -> Iterator[None]:
    try:
        process.start()
        process.wait_until_ready()
        yield
    finally:
        process.stop()


def _keep_production_busy(servers: TwoServers, console: Console, seconds: float | None) -> None:
    until = time.monotonic() + seconds if seconds is not None else float("inf")
    with psycopg.connect(servers.sender_url) as production:
        traffic = Traffic(production, servers.sender_media, seed=7)
        try:
            while time.monotonic() < until:
                summary = traffic.burst(datetime.now(UTC))
                rows = sum(summary.inserted.values()) + sum(summary.updated.values())
                console.print(f"{summary.at:%H:%M:%S} production wrote {rows} rows")
                time.sleep(min(_BURST_SECONDS, max(0.0, until - time.monotonic())))
        except KeyboardInterrupt:
            console.print("Ending the demo.")
