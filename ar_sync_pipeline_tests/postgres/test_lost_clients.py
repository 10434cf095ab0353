"""The server ends the session of a client that is gone, and its locks are free."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.postgres import session_settings
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.errors import LoadInProgressError
from ar_sync_pipeline.postgres.ledger_tables import load_lock
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci
from ar_sync_pipeline_tests.open_sessions import session
from ar_sync_pipeline_tests.waiting import until

ROOT = Path(__file__).parents[2]
SERVER_ADDRESS, CLIENT_ADDRESS = "10.231.9.1", "10.231.9.2"
# A load that works on its files while its transaction is open, or waits for a statement.
HOLDER = """
import sys, time
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger_tables import load_lock
with connect(sys.argv[1], application="load") as connection, load_lock(connection):
    with connection.transaction():
        connection.execute("SELECT 1")
        print("holds the lock", flush=True)
        connection.execute("SELECT pg_sleep(%s)", [sys.argv[2]])
        time.sleep(600)
"""
SESSION = """
SELECT pid, state FROM pg_stat_activity
 WHERE application_name = 'ar_sync load' AND datname = current_database()
"""


@contextmanager
def load_at_work(url: str, seconds: int, inside: tuple[str, ...] = ()) -> Iterator[int]:
    """Yield the process id of a load that holds its lock, in a statement of so many seconds."""
    command = [*inside, sys.executable, "-c", HOLDER, url, str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holds the lock\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def session_of_the_load(url: str) -> tuple[object, ...]:
    """Return its process id and state; zero and nothing if it has ended."""
    with session(url) as other:
        return other.execute(SESSION).fetchone() or (0, "")


def seconds_until_free(url: str, at_most: float) -> float:
    began = time.monotonic()
    until(lambda: session_of_the_load(url) == (0, ""), "the session ends", at_most)
    with connect(url, application="next load") as connection, load_lock(connection):
        return time.monotonic() - began


@pytest.mark.long
def test_load_that_is_killed_frees_its_lock_also_during_a_long_statement(
    empty_database: str,
) -> None:
    with load_at_work(empty_database, 600) as pid:
        until(lambda: session_of_the_load(empty_database)[1] == "active", "the statement runs")
        os.kill(pid, signal.SIGKILL)
        assert seconds_until_free(empty_database, 30) < 15


def test_load_that_is_refused_names_the_session_that_holds_the_lock(empty_database: str) -> None:
    with (
        load_at_work(empty_database, 0),
        connect(empty_database, application="next load") as connection,
    ):
        with pytest.raises(LoadInProgressError) as caught, load_lock(connection, wait="100ms"):
            pass
        holder, _ = session_of_the_load(empty_database)
    assert f"process {holder} (ar_sync load, SELECT pg_sleep, idle in trans" in caught.value.problem
    assert "connected from 127.0.0.1 for" in caught.value.problem
    assert f"SELECT pg_terminate_backend({holder})" in caught.value.remedy


def test_session_through_a_socket_file_needs_no_keepalives() -> None:
    folder = Path(tempfile.mkdtemp(prefix="ar-sync-socket-"))
    folder.chmod(0o777)
    try:
        server = EmbeddedPostgres(
            folder / "server", settings={"unix_socket_directories": str(folder)}
        )
        with server:
            url = f"host={folder} port={server.port} user=postgres dbname=postgres"
            with connect(url, application="test") as connection:
                assert scalar(connection, "SHOW tcp_keepalives_idle") == "0"
                assert scalar(connection, "SHOW client_connection_check_interval") == "5s"
    finally:
        shutil.rmtree(folder)


def test_server_that_cannot_check_connections_is_used_without(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where each value but 0 is refused as invalid."""
    refused = dict.fromkeys(session_settings._OF_THE_CLIENT, "-5")  # noqa: SLF001
    monkeypatch.setattr(session_settings, "_OF_THE_CLIENT", refused)
    with connect(empty_database, application="test") as connection:
        assert scalar(connection, "SHOW client_connection_check_interval") == "0"
        assert scalar(connection, "SHOW DateStyle") == "ISO, YMD"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def other_host() -> Iterator[str]:
    """Yield the name of a network namespace with a cable to this one."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        skip_unless_in_ci("network namespaces need root and iproute2")
    name, cable = f"ar-sync-{os.getpid()}-client", f"ars{os.getpid()}"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        skip_unless_in_ci(f"this machine lets nobody make a network: {error.stderr.decode()}")
    try:
        _ip("link", "add", cable, "type", "veth", "peer", "name", "cable", "netns", name)
        _ip("address", "add", f"{SERVER_ADDRESS}/30", "dev", cable)
        _ip("link", "set", cable, "up")
        _ip("-n", name, "address", "add", f"{CLIENT_ADDRESS}/30", "dev", "cable")
        _ip("-n", name, "link", "set", "cable", "up")
        yield name
    finally:
        with suppress(subprocess.CalledProcessError):
            _ip("netns", "delete", name)


@pytest.fixture
def server_for_two_hosts(other_host: str, tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    assert other_host
    addresses = f"127.0.0.1,{SERVER_ADDRESS}"
    server = EmbeddedPostgres(tmp_path / "server", settings={"listen_addresses": addresses})
    with server:
        with (server.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {CLIENT_ADDRESS}/30 trust\n")
        with psycopg.connect(server.url()) as connection:
            connection.execute("SELECT pg_reload_conf()")
        yield server
    server.destroy()


@pytest.mark.long
def test_loads_whose_host_is_lost_free_their_locks_in_a_minute(
    other_host: str, server_for_two_hosts: EmbeddedPostgres
) -> None:
    """One in a statement, one between two, and one to which an answer is on its way."""
    inside = ("ip", "netns", "exec", other_host)
    with ExitStack() as loads:
        for name, seconds in (("statement", 600), ("pause", 0), ("answer", 8)):
            url = server_for_two_hosts.create_database(name)
            url = url.replace("127.0.0.1", SERVER_ADDRESS)
            loads.enter_context(load_at_work(url, seconds, inside))
        # Nobody answers any more: neither FIN nor RST, as after a power failure.
        _ip("-n", other_host, "link", "set", "cable", "down")
        began = time.monotonic()
        for name in ("statement", "pause", "answer"):
            seconds_until_free(server_for_two_hosts.url(name), 120)
        assert 10 < time.monotonic() - began < 100
