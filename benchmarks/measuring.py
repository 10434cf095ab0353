"""Measuring one operation against a running server: seconds, CPU, WAL, memory, and its readers."""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

_TICKS = os.sysconf("SC_CLK_TCK")
_PAUSE_SECONDS = 0.005
_LOOKS = (
    (
        'SELECT e.id, b."registrationPlate" FROM "AndroidRequests_eventforbusv2" e'
        ' JOIN "AndroidRequests_busassignment" a ON a.id = e.busassignment_id'
        ' JOIN "AndroidRequests_busv2" b ON b.id = a.uuid_id ORDER BY e.id DESC LIMIT 20'
    ),
    (
        'SELECT count(*) FROM "AndroidRequests_stadisticdatafromregistrationbus"'
        ' WHERE "reportOfEvent_id" BETWEEN 100 AND 120 HAVING count(*) > 0'
    ),
    (
        'SELECT longitude, latitude FROM "AndroidRequests_poseintrajectoryoftoken"'
        " WHERE token_id = 500"
    ),
)


@dataclass(frozen=True)
class Figures:
    """What a operation cost.

    Attributes:
        seconds: from start to end.
        cpu_seconds: of client and server together, the readers' share included.
        wal_mb: write-ahead log written.
        peak_mb: memory of the largest client process.
        longest_wait_seconds: of a reader.
        failed_reads: errors, and answers without a row where there always are some; of ``reads``.
    """

    seconds: float
    cpu_seconds: float
    wal_mb: float
    peak_mb: float
    longest_wait_seconds: float = 0.0
    failed_reads: int = 0
    reads: int = 0


def median(runs: Sequence[Figures]) -> Figures:
    """Each figure's median over several runs; of reads the sum, of waits the longest."""
    return Figures(
        statistics.median(run.seconds for run in runs),
        statistics.median(run.cpu_seconds for run in runs),
        statistics.median(run.wal_mb for run in runs),
        max(run.peak_mb for run in runs),
        max(run.longest_wait_seconds for run in runs),
        sum(run.failed_reads for run in runs),
        sum(run.reads for run in runs),
    )


def measure(
    url: str, postmaster: int, command: Sequence[str | Path], *, watched: bool = False
) -> tuple[Figures, str]:
    """Run a command and return what it cost and what it printed.

    A checkpoint comes first, so that every operation pays for the full images of the pages that it
    touches (PostgreSQL manual, 30.5 "WAL Configuration").

    Args:
        url: the database whose readers are watched.
        postmaster: process id of the server.
        command: run to its end; it must succeed.
        watched: whether readers look at the database meanwhile.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    readers = _Readers(url) if watched else None
    wal, cpu, started = _wal_bytes(url), server_cpu(postmaster), time.monotonic()
    with readers.looking() if readers else _nobody():
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        printed = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        seconds = time.monotonic() - started
    if status != 0:
        raise SystemExit(f"{command[0]} failed with status {status}")
    figures = Figures(
        seconds,
        usage.ru_utime + usage.ru_stime + server_cpu(postmaster) - cpu,
        (_wal_bytes(url) - wal) / 1e6,
        usage.ru_maxrss / 1024,
        readers.longest_wait_seconds if readers else 0.0,
        readers.failed if readers else 0,
        readers.looks if readers else 0,
    )
    return figures, printed


class _Readers:
    """A visitor of the receiver's site: small queries, one after the other."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._done = threading.Event()
        self.longest_wait_seconds = 0.0
        self.failed = 0
        self.looks = 0

    @contextmanager
    def looking(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def _look(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._done.wait(_PAUSE_SECONDS):
                for query in _LOOKS:
                    self._ask(connection, query)

    def _ask(self, connection: psycopg.Connection[tuple[object, ...]], query: str) -> None:
        started = time.monotonic()
        try:
            answered = connection.execute(query.encode()).fetchone() is not None
        except psycopg.Error:
            answered = False
        self.longest_wait_seconds = max(self.longest_wait_seconds, time.monotonic() - started)
        self.failed += not answered
        self.looks += 1


@contextmanager
def _nobody() -> Iterator[None]:
    yield


def _wal_bytes(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return int(row[0])


def server_cpu(postmaster: int) -> float:
    """Return the CPU seconds of the server's processes, those that ended included."""
    living = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    own, ended = _cpu_of(postmaster)
    return own + ended + sum(_cpu_of(int(child))[0] for child in living)


def _cpu_of(process: int) -> tuple[float, float]:
    """CPU seconds of a process itself, and of its children that ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    user, system, ended_user, ended_system = (int(field) / _TICKS for field in fields[11:15])
    return user + system, ended_user + ended_system
