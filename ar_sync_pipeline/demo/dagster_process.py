"""A process of a Dagster deployment: code server, web server or daemon, with its own log."""

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
    """A process that can be started, stopped and killed, and then started again.

    Attributes:
        words: Command line; the program is in the folder of this Python.
        environment: All environment variables of the process.
        log: File to which output is appended.
        port: Port on which the process answers when it is ready; None: it is ready at once.
        address: Address of the port.
        inside: Prefix of the command line, such as a program that runs it in a namespace.
    """

    words: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    port: int | None = None
    address: str = HOST
    inside: Sequence[str] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the process, without waiting until it is ready."""
        program = Path(sys.executable).with_name(self.words[0])
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self.inside, program, *self.words[1:]],
                env=dict(self.environment),
                stdout=output,
                stderr=subprocess.STDOUT,
                # A process group of its own, so that its run workers can be killed with it.
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until the process answers on its port.

        Raises:
            DemoRunError: The process ended, or does not answer.
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
        """Send SIGTERM to this process alone, like systemd's ``KillMode=mixed``; do not wait."""
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """Terminate the process, kill it if it does not end, and kill its run workers."""
        if self._process is not None:
            self.ask_to_end()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the process and its run workers, like a power failure."""
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
    """Write a workspace of named code servers; JSON is valid YAML."""
    locations = [
        {"grpc_server": {"host": HOST, "port": port, "location_name": name}}
        for name, port in ports.items()
    ]
    path.write_text(json.dumps({"load_from": locations}), encoding="utf-8")
