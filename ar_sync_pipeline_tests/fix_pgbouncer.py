"""A PgBouncer in front of the test server, in any pooling mode."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.demo.server_account import server_account
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci
from ar_sync_pipeline_tests.waiting import until

PgBouncer = Callable[..., str]
"""Starts one in a pooling mode (``session``, ``transaction``, ``statement``) for a database's URL,
and returns the URL through it."""

_START_SECONDS = 20


@pytest.fixture
def pgbouncer(postgres_server: EmbeddedPostgres) -> Iterator[PgBouncer]:
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        skip_unless_in_ci("no pgbouncer is installed")
    account = server_account()
    with ExitStack() as stack:

        def start(mode: str, url: str, *, pool_size: int = 20) -> str:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ar-sync-pool-")))
            folder.chmod(0o755)
            port = free_port()
            settings = folder / "pgbouncer.ini"
            settings.write_text(
                f"[databases]\n* = host=127.0.0.1 port={postgres_server.port} user=postgres\n"
                f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
                f"unix_socket_dir =\npool_mode = {mode}\ndefault_pool_size = {pool_size}\n"
            )
            process = subprocess.Popen(
                [program, "-q", settings],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **account.popen_identity,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            until(partial(_answers, port), "pgbouncer listens", _START_SECONDS)
            return urlsplit(url)._replace(netloc=f"postgres@127.0.0.1:{port}").geturl()

        yield start


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
