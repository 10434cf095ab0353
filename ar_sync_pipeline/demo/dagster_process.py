"""One process of a Dagster deployment: code server, web server or daemon, with its own log."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ar_sync_pipeline.demo.errors import DemoRunError

HOST = "127.0.0.1"
_START_SECONDS = 90
_STOP_SECONDS = 20


@dataclass
class DagsterProcess:
    """A process that can be started, ended politely, and killed; then started again.

    Attributes:
        words: the command line; the program is looked for beside this Python.
        environment: all variables of the process.
        log: file that its output is appended to.
        port: that it answers on when it is ready; None: it is ready at once.
        address: of that port.
        inside: the beginning of a command line that runs the rest in a place of its own.
    """

    words: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    port: int | None = None
    address: str = HOST
    inside: Sequence[str] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it; it is ready some seconds later."""
        program = Path(sys.executable).with_name(self.words[0])
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self.inside, program, *self.words[1:]],
                env=dict(self.environment),
                stdout=output,
                stderr=subprocess.STDOUT,
                # A group of its own, so that its run workers can be ended with it.
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until it answers on its port.

        Raises:
            DemoRunError: it ended, or does not answer.
        """
        deadline = time.monotonic() + _START_SECONDS
        while self.port is not None and not self._answers(self.address, self.port):
            if time.monotonic() > deadline or self._process is None or self._process.poll():
                raise DemoRunError(
                    " ".join(self.words),
                    (f"it does not answer on port {self.port}, see {self.log}",),
                )
            time.sleep(0.1)

    @staticmethod
    def _answers(address: str, port: int) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((address, port)) == 0

    def ask_to_end(self) -> None:
        """SIGTERM to this process alone, as systemd's ``KillMode=mixed`` does, without waiting."""
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """End it politely, by force if it does not listen; what it leaves behind ends with it."""
        if self._process is not None:
            self.ask_to_end()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
            self.kill()

    def kill(self) -> None:
        """``kill -9``, its run workers included: what a power cut does."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None


def code_server_words(side: str, port: int, address: str = HOST) -> list[str]:
    """Return the command line of a side's code server."""
    module = f"ar_sync_pipeline.{side}"
    return ["dagster", "api", "grpc", "-m", module, "-h", address, "-p", str(port)]


def write_workspace(path: Path, ports: Mapping[str, int]) -> None:
    """The workspace of one control plane over code servers, by name; JSON is YAML too."""
    locations = [
        {"grpc_server": {"host": HOST, "port": port, "location_name": name}}
        for name, port in ports.items()
    ]
    path.write_text(json.dumps({"load_from": locations}), encoding="utf-8")


def free_port() -> int:
    """Return a port of the loopback device that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
