"""The demo with everything on: code servers, daemon, Dagster UI, and traffic that never rests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from rich.console import Console

from ar_sync_pipeline.demo.errors import DemoRunError
from ar_sync_pipeline.demo.traffic import Traffic
from ar_sync_pipeline.demo.two_servers import TwoServers, two_servers
from ar_sync_pipeline.operations.local_runs import LocalRuns
from ar_sync_pipeline.sender.definitions import sender_definitions
from ar_sync_pipeline.settings import load_sender_settings

_HOST = "127.0.0.1"
_INTERVAL_MINUTES = 1
_BURST_SECONDS = 20
_START_SECONDS = 90
_STOP_SECONDS = 20


def run_live(folder: Path, port: int, console: Console, *, seconds: float | None = None) -> None:
    """Run both servers with all schedules and sensors on until interrupted.

    Args:
        port: of the Dagster UI.
        seconds: how long; None: until Ctrl-C.

    Raises:
        DemoRunError: a process of the demo did not start.
    """
    with live_servers(folder, port, console) as servers:
        console.print(f"Dagster UI: http://{_HOST}:{port}  (Ctrl-C ends the demo)")
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
        for command, environment, ready_port in _processes(servers, port):
            running.enter_context(_process(servers, command, environment, ready_port))
        yield servers


def write_instance(home: Path) -> None:
    """The instance of the demo: SQLite, one load at a time, a quick queue."""
    settings = {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
        "run_queue": {"dequeue_interval_seconds": 1},
        "concurrency": {"pools": {"granularity": "run", "default_limit": 1}},
        "run_monitoring": {"enabled": True, "poll_interval_seconds": 30},
    }
    (home / "dagster.yaml").write_text(json.dumps(settings), encoding="utf-8")


def write_workspace(servers: TwoServers, ports: Mapping[str, int]) -> Path:
    """The workspace of one control plane over two code servers; JSON is YAML too."""
    path = servers.folder / "workspace.yaml"
    locations = [
        {"grpc_server": {"host": _HOST, "port": port, "location_name": name}}
        for name, port in ports.items()
    ]
    path.write_text(json.dumps({"load_from": locations}), encoding="utf-8")
    return path


def _processes(
    servers: TwoServers, port: int
) -> Iterator[tuple[list[str], Mapping[str, str], int | None]]:
    ports = {"sender": _free_port(), "receiver": _free_port()}
    environments = {
        "sender": servers.sender_environment(),
        "receiver": servers.receiver_environment(),
    }
    workspace = str(write_workspace(servers, ports))
    for side, code_port in ports.items():
        module = f"ar_sync_pipeline.{side}"
        command = ["dagster", "api", "grpc", "-m", module, "-h", _HOST, "-p", str(code_port)]
        yield command, environments[side], code_port
    yield ["dagster-webserver", "-h", _HOST, "-p", str(port), "-w", workspace], {}, port
    yield ["dagster-daemon", "run", "-w", workspace], {}, None


@contextmanager
def _process(
    servers: TwoServers,
    command: Sequence[str],
    environment: Mapping[str, str],
    ready_port: int | None,
) -> Iterator[None]:
    program = Path(sys.executable).with_name(command[0])
    log = servers.folder / f"{'-'.join(command[:1])}-{ready_port or 'daemon'}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *command[1:]],
            env={**os.environ, "DAGSTER_HOME": str(servers.dagster_home), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        if ready_port is not None:
            _wait_for(process, ready_port, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((_HOST, port)) == 0:
                return
        time.sleep(0.2)
    raise DemoRunError(str(process.args), (f"it does not answer on port {port}, see {log}",))


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
