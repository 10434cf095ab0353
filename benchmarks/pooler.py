"""PgBouncer of `deploy/pgbouncer` in front of a PostgreSQL server of this machine."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.demo.server_account import server_account

EXAMPLE = Path(__file__).parents[1] / "deploy" / "pgbouncer" / "pgbouncer.ini"
_STARTS_WITHIN_SECONDS = 20


@contextmanager
def pooler(storage: EmbeddedPostgres, database: str) -> Iterator[str]:
    """Run PgBouncer with the example's settings, but for addresses; yield the database's URL.

    The server must have a password.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    assert program is not None, "pgbouncer is not installed"
    url, port, account = urlsplit(storage.url(database)), free_port(), server_account()
    secret = unquote(url.password or "")
    made = RawConfigParser()
    made.read(EXAMPLE)
    with tempfile.TemporaryDirectory(prefix="ar-sync-pool-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        users = folder / "userlist.txt"
        users.write_text(f'"{url.username}" "{secret}"\n')
        made["databases"][database] = f"host=127.0.0.1 port={storage.port}"
        made["pgbouncer"].update(
            {"listen_port": str(port), "auth_file": str(users), "unix_socket_dir": ""}
        )
        with (folder / "pgbouncer.ini").open("w") as file:
            made.write(file)
        process = subprocess.Popen(
            [program, "-q", folder / "pgbouncer.ini"],
            stdin=subprocess.DEVNULL,
            **account.popen_identity,
        )
        try:
            through = url._replace(
                netloc=f"{url.username}:{url.password}@127.0.0.1:{port}"
            ).geturl()
            _wait_for(through)
            yield through
        finally:
            process.kill()
            process.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_SECONDS
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "pgbouncer does not answer"
            time.sleep(0.1)
        else:
            return
