"""A real PostgreSQL server in a folder, ready in about a second, also for root.

Only initdb and postgres run, both as an unprivileged account if we are root (see
``server_account``). The server listens only on loopback.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from ar_sync_pipeline.demo.errors import EmbeddedPostgresError
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.demo.postgres_binaries import PostgresBinaries, find_postgres_binaries
from ar_sync_pipeline.demo.server_account import (
    reachable_folder,
    reachable_programs,
    server_account,
)

_HOST = "127.0.0.1"
_SUPERUSER = "postgres"
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02
_HAS_STRATEGIES = 150_000
_START_ATTEMPTS = 3

_SETTINGS = {
    "listen_addresses": _HOST,
    # No socket files: their path must be short, and they remain after a killed server.
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
}
# The data need not survive a power failure (manual, 14.5 "Non-Durable Settings").
_FAST_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


@dataclass(frozen=True)
class _Running:
    process: subprocess.Popen[bytes]
    port: int


class EmbeddedPostgres:
    """One PostgreSQL server with its cluster in ``folder``; a context manager.

    Starting with an existing folder keeps its databases. A server that a killed run left in the
    folder is stopped first.

    Args:
        folder: Folder of the cluster. If the account of the server cannot reach it (root's home),
            another one in a temporary folder is used: see the attribute ``folder``.
        binaries: Programs to use, by default those of ``find_postgres_binaries()``.
        durable: Whether PostgreSQL is crash-safe; False is faster, for temporary data.
        password: Password of connections (SCRAM), included in ``url()``; it takes effect when the
            cluster is made. Without one, loopback is trusted.
        settings: Additional server settings, which override the defaults.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binaries: PostgresBinaries | None = None,
        durable: bool = False,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._binaries = binaries or find_postgres_binaries()
        self._account = server_account()
        self._durable = durable
        self._password = password
        self._settings = dict(settings or {})
        self._running: _Running | None = None
        self.folder = reachable_folder(folder, self._account)

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server; the folder stays."""
        self.stop()

    @property
    def binaries(self) -> PostgresBinaries:
        """Programs of the server; clients such as ``psql`` are in the same folder."""
        return self._binaries

    @property
    def log_file(self) -> Path:
        """Log file of the server."""
        return self.folder / "server.log"

    @property
    def port(self) -> int:
        """Loopback port of the running server."""
        return self._require_running().port

    @property
    def process_id(self) -> int:
        """Process id of the postmaster of the running server."""
        return self._require_running().process.pid

    def start(self) -> None:
        """Make the cluster if there is none, start the server, and wait until it answers.

        Raises:
            EmbeddedPostgresError: Initdb failed, or the server did not start; the message has the
                end of its log.
        """
        if self._running is not None:
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._account.make_folder(self.folder)
        self._stop_leftover()
        if (self._data_folder / "PG_VERSION").exists():
            self._check_version()
        else:
            self._initialize()
        for attempt in range(1, _START_ATTEMPTS + 1):
            port = free_port()
            process = self._launch(port)
            if self._answers(process, port):
                self._running = _Running(process, port)
                return
            # Another program may have bound the port after our check.
            if attempt == _START_ATTEMPTS or "could not bind" not in self._log_tail():
                raise EmbeddedPostgresError(
                    f"PostgreSQL in {self.folder} did not start: {self._log_tail()}",
                    remedy=f"see {self.log_file}",
                )

    def stop(self) -> None:
        """Stop the server, if it runs, and break its connections."""
        running, self._running = self._running, None
        if running is None:
            return
        for asked in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            running.process.send_signal(asked)
            try:
                running.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return

    def destroy(self) -> None:
        """Stop the server, also one of a killed run, and remove the folder."""
        self.stop()
        self._stop_leftover()
        rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        """Return the libpq URL of a database of the running server."""
        secret = f":{quote(self._password, safe='')}" if self._password else ""
        return f"postgresql://{_SUPERUSER}{secret}@{_HOST}:{self.port}/{quote(database, safe='')}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of ``template`` if given, and return its URL.

        The template must have no connections (manual, 22.3 "Template Databases").
        """
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template or "template0")
        )
        with psycopg.connect(self.url(), autocommit=True) as connection:
            if connection.info.server_version >= _HAS_STRATEGIES and not self._durable:
                # Twice as fast if its two checkpoints cost nothing.
                statement += sql.SQL(" STRATEGY FILE_COPY")
            connection.execute(statement)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and break its connections."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    @property
    def _data_folder(self) -> Path:
        return self.folder / "data"

    def _require_running(self) -> _Running:
        if self._running is None:
            raise EmbeddedPostgresError(
                f"PostgreSQL in {self.folder} is not running", remedy="start() it first"
            )
        return self._running

    def _program(self, name: str) -> Path:
        copy_folder = self.folder / f"programs-{self._binaries.major}"
        return reachable_programs(self._binaries.folder, copy_folder, self._account) / name

    def _check_version(self) -> None:
        made_by = (self._data_folder / "PG_VERSION").read_text(encoding="ascii").strip()
        if made_by != str(self._binaries.major):
            raise EmbeddedPostgresError(
                f"{self.folder} was made by PostgreSQL {made_by},"
                f" and {self._binaries.folder} is {self._binaries.major}",
                remedy="remove the folder, or use programs of its version",
            )

    def _initialize(self) -> None:
        # An interrupted initdb leaves a folder without PG_VERSION, which initdb would refuse.
        rmtree(self._data_folder, ignore_errors=True)
        command: list[str | Path] = [
            self._program("initdb"),
            f"--pgdata={self._data_folder}",
            f"--username={_SUPERUSER}",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
        ]
        if not self._durable:
            command.append("--no-sync")
        password_file = self.folder / "password"
        if self._password:
            # In a private temporary file: an argument would show the password to everybody.
            self._account.write_private_file(password_file, self._password)
            command += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
        else:
            command.append("--auth=trust")
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                cwd=self.folder,
                env=_server_environment(),
                **self._account.popen_identity,
            )
        finally:
            password_file.unlink(missing_ok=True)
        if done.returncode != 0:
            rmtree(self._data_folder, ignore_errors=True)
            raise EmbeddedPostgresError(
                f"initdb failed in {self.folder}: {done.stderr.strip()[-500:]}",
                remedy="check the folder's free space and permissions",
            )

    def _launch(self, port: int) -> subprocess.Popen[bytes]:
        settings = _SETTINGS | ({} if self._durable else _FAST_SETTINGS) | self._settings
        settings["port"] = str(port)
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        with self.log_file.open("wb") as log:
            return subprocess.Popen(
                [self._program("postgres"), "-D", self._data_folder, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=_server_environment(),
                # Ctrl-C in the terminal must not reach the server: stop() stops it.
                start_new_session=True,
                **self._account.popen_identity,
            )

    def _answers(self, process: subprocess.Popen[bytes], port: int) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                psycopg.connect(
                    host=_HOST,
                    port=port,
                    user=_SUPERUSER,
                    password=self._password,
                    dbname="postgres",
                    connect_timeout=5,
                ).close()
            except psycopg.OperationalError:
                time.sleep(_POLL_SECONDS)
            else:
                # The port answered, but it may be that of another server.
                return process.poll() is None
        if process.poll() is None:
            process.kill()
        process.wait()
        return False

    def _stop_leftover(self) -> None:
        process_id = _postmaster_of(self._data_folder)
        if process_id is None:
            return
        for asked in (signal.SIGQUIT, signal.SIGKILL):
            os.kill(process_id, asked)
            deadline = time.monotonic() + _STOP_SECONDS
            while time.monotonic() < deadline:
                if _postmaster_of(self._data_folder) is None:
                    return
                time.sleep(_POLL_SECONDS)
        raise EmbeddedPostgresError(
            f"process {process_id} of an earlier run still serves {self.folder}",
            remedy=f"stop it with: kill {process_id}",
        )

    def _log_tail(self) -> str:
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return " / ".join(lines[-5:])


def _server_environment() -> dict[str, str]:
    """Return our environment without variables that change the server or its clients."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    # Messages are searched for words, so they must be in English.
    return kept | {"LC_ALL": "C.UTF-8"}


def _postmaster_of(data_folder: Path) -> int | None:
    """Return the process id of the running postmaster of a cluster; None if there is none."""
    try:
        first_line = (data_folder / "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0]
        process_id = int(first_line)
        os.kill(process_id, 0)
    except (OSError, ValueError):
        return None
    # The working folder of a postmaster is its data folder, as in /proc; ps shows it after -D.
    try:
        at_home = Path(f"/proc/{process_id}/cwd").resolve(strict=True) == data_folder.resolve()
    except FileNotFoundError:
        at_home = not Path("/proc/self").exists() and str(data_folder) in _command_of(process_id)
    except PermissionError:
        at_home = False
    return process_id if at_home else None


def _command_of(process_id: int) -> str:
    answer = subprocess.run(
        ["ps", "-o", "args=", "-p", str(process_id)], capture_output=True, text=True, check=False
    )
    return answer.stdout
