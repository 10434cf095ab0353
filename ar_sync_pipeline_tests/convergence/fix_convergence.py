"""The servers that many histories share, and the process whose children are killed."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline_tests.convergence.application import (
    CATALOG,
    RECEIVER_SCHEMA,
    SENDER_SCHEMA,
    TABLES,
)
from ar_sync_pipeline_tests.convergence.row_images import Connection
from ar_sync_pipeline_tests.fix_sites import execute

DUMPS_AS = "convergence_dumps"
_REPOSITORY = Path(__file__).resolve().parents[2]


class KillableRuns:
    """Real runs in child processes that may kill themselves."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ar_sync_pipeline_tests.convergence.killable"],
            cwd=_REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, what: str, environ: dict[str, str], now: datetime, **more: object) -> None:
        """Begin a run; `status` or `poll` must be asked before the next one."""
        order = {
            "what": what,
            "environ": environ,
            "catalog": CATALOG.model_dump_json(by_alias=True),
            "now": now.isoformat(),
            **more,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def status(self) -> int:
        """How the run ended: 0 well, 1 with an error, -9 killed."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def ended(self) -> bool:
        """Whether the run has ended."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def close(self) -> None:
        """End the process; its children have ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def killable_runs() -> Iterator[KillableRuns]:
    """One process for all tests of a session: it takes a second to start, and a fork none."""
    runs = KillableRuns()
    yield runs
    runs.close()


@dataclass(frozen=True)
class Servers:
    """Two databases of the application, each with a connection that stays open."""

    sender_url: str
    receiver_url: str
    sender: Connection
    receiver: Connection


@pytest.fixture(scope="session")
def servers(postgres_server: EmbeddedPostgres) -> Iterator[Servers]:
    """Databases that every history empties before it begins."""
    sender = postgres_server.create_database("convergence_sender")
    receiver = postgres_server.create_database("convergence_receiver")
    execute(sender, SENDER_SCHEMA)
    execute(receiver, RECEIVER_SCHEMA)
    execute(
        sender,
        f"CREATE ROLE {DUMPS_AS} LOGIN",
        f"GRANT pg_read_all_stats TO {DUMPS_AS}",
        f"GRANT SELECT ON {', '.join(TABLES)} TO {DUMPS_AS}",
    )
    with ExitStack() as stack:
        connections = [
            stack.enter_context(
                psycopg.connect(url, autocommit=True, options="-c lock_timeout=20ms")
            )
            for url in (sender, receiver)
        ]
        yield Servers(sender, receiver, *connections)
