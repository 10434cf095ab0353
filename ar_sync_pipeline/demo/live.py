"""Live demo: code servers, daemon, Dagster UI, and continuous traffic."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from rich.console import Console

from ar_sync_pipeline.demo.city import correct_city
from ar_sync_pipeline.demo.dagster_process import (
    HOST,
    DagsterProcess,
    code_server_words,
    write_workspace,
)
from ar_sync_pipeline.demo.errors import DemoPortError
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.demo.traffic import Traffic
from ar_sync_pipeline.demo.two_servers import TwoServers, two_servers
from ar_sync_pipeline.operations.runs.local_runs import LocalRuns
from ar_sync_pipeline.sender.definitions import sender_definitions
from ar_sync_pipeline.settings.model import load_sender_settings

_INTERVAL_MINUTES = 1
_SEED = 7
_BURST_SECONDS = 20
# Only completes replicate deletions: a daily one would delete so many rows of the small tables that
# the delete guard would park it.
_COMPLETE_CRON = "*/10 * * * *"


def run_live(folder: Path, port: int, console: Console) -> None:
    """Run both servers with all schedules and sensors on until interrupted.

    Args:
        folder: Folder of both servers.
        port: Port of the Dagster UI.
        console: Console for messages.

    Raises:
        DemoRunError: A process of the demo did not start.
        DemoPortError: Another program uses the port.
    """
    with live_servers(folder, port, console) as servers:
        console.print(f"Dagster UI: http://{HOST}:{port}  (Ctrl-C ends the demo)")
        console.print(
            f"The files of both servers are in {servers.folder}; production changes every"
            f" {_BURST_SECONDS} s, windows are {_INTERVAL_MINUTES} min long."
        )
        _keep_production_busy(servers, console)


def check_port(port: int) -> None:
    """Check that no other program uses the port: it would be taken for the UI of the demo.

    Raises:
        DemoPortError: The port cannot be used.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise DemoPortError(
                f"the Dagster UI cannot have port {port} ({error.strerror})",
                remedy="name another one, as in: ar-sync demo --ui --port 3100 (in a checkout"
                " .venv/bin/ar-sync)",
            ) from error


@contextmanager
def live_servers(
    folder: Path, port: int, console: Console, *, interval_minutes: int = _INTERVAL_MINUTES
) -> Iterator[TwoServers]:
    """Start both servers with code servers, daemon and UI, and send a first complete.

    Args:
        folder: Folder of both servers.
        port: Port of the Dagster UI.
        console: Console for messages.
        interval_minutes: Length of a window.

    Raises:
        DemoRunError: A process of the demo did not start.
    """
    with ExitStack() as running:
        servers = running.enter_context(two_servers(folder, interval_minutes=interval_minutes))
        with psycopg.connect(servers.sender_url) as production:
            correct_city(production)
        console.print("Dumping the first complete")
        with LocalRuns(servers.dagster_home) as runs:
            sender = sender_definitions(load_sender_settings(servers.sender_environment()))
            runs.run(sender, "complete_dump")
        for process in _processes(servers, port):
            running.enter_context(_running(process))
        yield servers


def _processes(servers: TwoServers, port: int) -> Iterator[DagsterProcess]:
    ports = {"sender": free_port(), "receiver": free_port()}
    environments = {
        "sender": servers.sender_environment() | {"AR_SYNC_COMPLETE_CRON": _COMPLETE_CRON},
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


def _keep_production_busy(servers: TwoServers, console: Console) -> None:
    """Write until Ctrl-C; what keeps production from it is told, and tried again."""
    seed = _SEED
    try:
        while True:
            try:
                with psycopg.connect(servers.sender_url, autocommit=True) as production:
                    traffic = Traffic(production, servers.sender_media, seed)
                    while True:
                        _burst(traffic, console)
                        time.sleep(_BURST_SECONDS)
            except psycopg.Error as error:
                reason = str(error).strip().partition("\n")[0]
                console.print(f"{datetime.now(UTC):%H:%M:%S} production cannot write ({reason})")
                time.sleep(_BURST_SECONDS)
            # Never the values that an earlier burst has drawn.
            seed += 1
    except KeyboardInterrupt:
        console.print("Ending the demo.")


def _burst(traffic: Traffic, console: Console) -> None:
    summary = traffic.burst(datetime.now(UTC))
    rows = sum(summary.inserted.values()) + sum(summary.updated.values())
    console.print(f"{summary.at:%H:%M:%S} production wrote {rows} rows")
