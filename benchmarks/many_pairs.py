"""Whether one daemon keeps up with many pairs: ticks, lateness of schedules, processor, storage.

    .venv/bin/python -m benchmarks.many_pairs [--pairs 100] [--minutes 11] [--workers 20]
                                              [--storage pooled|dagster] [--pgbouncer]

Daemon, code servers and PostgreSQL storage are real, and so is each tick: all pairs have the
schedules, sensors and settings of real ones, with windows of five minutes, and share two small
databases; each has an empty spool. Runs are recorded and not executed (`recorded_launcher.py`).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import yaml  # type: ignore[import-untyped]

from ar_sync_pipeline.demo.dagster_process import HOST, DagsterProcess, write_workspace
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.demo.two_servers import TwoServers, two_servers
from ar_sync_pipeline.operations.runs.local_runs import LocalRuns
from ar_sync_pipeline.receiver.definitions import receiver_definitions
from ar_sync_pipeline.sender.definitions import sender_definitions
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings
from ar_sync_pipeline.spool.layout import prepare_spool
from benchmarks.many_pairs_location import pair_names
from benchmarks.pooler import pooler

ROOT = Path(__file__).parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")
_LOADED_WITHIN_SECONDS = 900
_TICKED = """
SELECT count(*), count(*) FILTER (WHERE status = 'FAILURE') FROM job_ticks
WHERE timestamp >= to_timestamp(%(since)s) AT TIME ZONE 'UTC'
  AND timestamp < to_timestamp(%(to)s) AT TIME ZONE 'UTC'
"""
# Most statements are transactions of their own.
_STATISTICS = """
SELECT pg_database_size(datname), xact_commit + xact_rollback, sessions
FROM pg_stat_database WHERE datname = current_database()
"""
# The first request of each window that ended meanwhile, after its end; negative: it started early.
_LATE = """
SELECT count(*), sum(requests), max(late), percentile_cont(0.5) WITHIN GROUP (ORDER BY late)
FROM (SELECT count(*) AS requests, min(extract(epoch FROM create_timestamp - ended)) AS late
      FROM (SELECT r.pipeline_name, r.create_timestamp,
                   to_timestamp(t.value, 'YYYY-MM-DD"T"HH24:MI')::timestamp
                   + interval '5 minutes' AS ended
            FROM runs r JOIN run_tags t ON t.run_id = r.run_id
             AND t.key = 'dagster/asset_partition_range_end'
            WHERE r.pipeline_name LIKE '%%_partial_dump') requested
      WHERE ended >= to_timestamp(%(since)s) AT TIME ZONE 'UTC'
        AND ended < to_timestamp(%(to)s) AT TIME ZONE 'UTC'
      GROUP BY pipeline_name, ended) windows
"""


@dataclass(frozen=True)
class Reading:
    """Figures at one time."""

    at: float
    cpu_seconds: dict[str, float]
    storage_bytes: int
    transactions: int
    connections: int


def main() -> None:
    """Print the figures as markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--minutes", type=int, default=11)
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--storage", choices=["pooled", "dagster"], default="pooled")
    parser.add_argument("--pgbouncer", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ar_sync_many_pairs_"))
    with two_servers(folder / "demo", interval_minutes=5) as servers:
        _first_complete(servers)
        for pair in pair_names(options.pairs):
            spool = servers.spool.with_name(pair)
            spool.mkdir(mode=0o700)
            prepare_spool(spool)
        with ExitStack() as running:
            storage = EmbeddedPostgres(folder / "storage", password="of the storage")  # noqa: S106  of this benchmark
            running.enter_context(storage)
            url = through = storage.create_database("dagster")
            if options.pgbouncer:
                through = running.enter_context(pooler(storage, "dagster"))
            pids = running.enter_context(_processes(servers, through, options))
            pids["PostgreSQL storage"] = storage.process_id
            _until_every_sensor_has_ticked(url, options.pairs)
            before = _reading(pids, url)
            time.sleep(60 * options.minutes)
            _print(options, before, _reading(pids, url), url, _due_ticks_a_second(servers))


def _first_complete(servers: TwoServers) -> None:
    with LocalRuns(servers.dagster_home) as runs:
        sender = sender_definitions(load_sender_settings(servers.sender_environment()))
        receiver = receiver_definitions(load_receiver_settings(servers.receiver_environment()))
        assert runs.run(sender, "complete_dump").succeeded
        assert runs.run(receiver, "complete_loaddata").succeeded


@contextmanager
def _processes(
    servers: TwoServers, storage_url: str, options: argparse.Namespace
) -> Iterator[dict[str, int]]:
    """Start the code servers and the daemon; yield the process ids."""
    home = servers.folder / "control_plane"
    home.mkdir()
    base = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "DAGSTER_POSTGRES_URL": storage_url,
        "PYTHONPATH": str(ROOT),
        "PAIRS": str(options.pairs),
    }
    _write_instance(home, options)
    ports = {side: free_port() for side in ("sender", "receiver")}
    workspace = home / "workspace.yaml"
    write_workspace(workspace, ports)
    pids = {}
    with ExitStack() as running:
        for side, port in ports.items():
            words = ["dagster", "api", "grpc", "-m", "benchmarks.many_pairs_location"]
            settings = getattr(servers, f"{side}_environment")()
            process = DagsterProcess(
                [*words, "-h", HOST, "-p", str(port)],
                base | settings | {"SIDE": side},
                home / f"{side}.log",
                port,
            )
            pids[f"code server of the {side}s"] = _started(process, running)
        for side, port in ports.items():
            _until_it_answers(side, port)
        daemon = DagsterProcess(
            ["dagster-daemon", "run", "-w", str(workspace)], base, home / "daemon.log"
        )
        pids["daemon"] = _started(daemon, running)
        yield pids


def _started(process: DagsterProcess, running: ExitStack) -> int:
    process.start()
    running.callback(process.kill)
    assert process._process is not None  # noqa: SLF001  its processor time is measured
    return process._process.pid  # noqa: SLF001


def _until_it_answers(side: str, port: int) -> None:
    started = time.monotonic()
    probe = DagsterProcess([], {}, Path(os.devnull))
    while not probe._answers(HOST, port):  # noqa: SLF001
        assert time.monotonic() - started < _LOADED_WITHIN_SECONDS, f"{side} does not answer"
        time.sleep(1)
    print(f"The code server of the {side}s has answered after {time.monotonic() - started:.0f} s.")


def _write_instance(home: Path, options: argparse.Namespace) -> None:
    made = yaml.safe_load((ROOT / "dagster.postgres.yaml").read_text())
    made["run_launcher"] = {
        "module": "benchmarks.recorded_launcher",
        "class": "RecordedRunLauncher",
    }
    made["sensors"]["num_workers"] = made["schedules"]["num_workers"] = options.workers
    if options.storage == "dagster":
        made["storage"] = {"postgres": made["storage"]["custom"]["config"]}
    (home / "dagster.yaml").write_text(yaml.safe_dump(made))


def _until_every_sensor_has_ticked(url: str, pairs: int) -> None:
    """Wait until the daemon has loaded both locations: each pair has a tick of its alert sensor."""
    started = time.monotonic()
    while True:
        assert time.monotonic() - started < _LOADED_WITHIN_SECONDS
        time.sleep(5)
        with psycopg.connect(url) as connection:
            rows = connection.execute(
                "SELECT tick_body::json->>'job_name' FROM job_ticks"
            ).fetchall()
        ticked = {name for (name,) in rows}
        if all(f"{pair}_receiver_alerts" in ticked for pair in pair_names(pairs)):
            print(f"All pairs have ticked after {time.monotonic() - started:.0f} s.")
            return


def _reading(pids: dict[str, int], url: str) -> Reading:
    with psycopg.connect(url) as connection:
        row = connection.execute(_STATISTICS).fetchone()
    assert row is not None
    used = {name: _cpu_seconds(pid) for name, pid in pids.items()}
    return Reading(time.time(), used, *row)


def _cpu_seconds(root: int) -> float:
    """Return the processor seconds of a process, of its children and of its ended children."""
    total, parents = 0.0, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)
    for pid, (parent, seconds) in parents.items():
        if root in {pid, parent}:
            total += seconds
    return total


def _print(
    options: argparse.Namespace, before: Reading, after: Reading, url: str, due: float
) -> None:
    seconds = after.at - before.at
    span = {"since": before.at, "to": after.at}
    with psycopg.connect(url) as connection:
        ticks = connection.execute(_TICKED, span).fetchone()
        runs = connection.execute(_LATE, span).fetchone()
    assert ticks
    assert runs
    growth = (after.storage_bytes - before.storage_bytes) / seconds * 86400 / 1e6
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"\n{options.pairs} pairs, {seconds:.0f} s until {datetime.now(UTC):%H:%M} UTC,"
        f" load of the machine {load}, {os.cpu_count()} cores, {options.workers} workers,"
        f" storage {options.storage}{' with PgBouncer' if options.pgbouncer else ''}\n"
    )
    print("| figure | value |\n|---|--:|")
    print(f"| ticks a second | {ticks[0] / seconds:.1f} |")
    print(f"| ticks a second that are due | {options.pairs * due:.1f} |")
    for name in ("transactions", "connections"):
        made = getattr(after, name) - getattr(before, name)
        print(f"| {name} of the storage for each tick | {made / ticks[0]:.1f} |")
    print(f"| ticks that failed | {ticks[1]} |")
    print(f"| windows that ended and were requested | {runs[0]} |")
    print(f"| requests of them | {runs[1]} |")
    print(f"| requested after the window's end, median, s | {runs[3]:.0f} |")
    print(f"| requested after the window's end, largest, s | {runs[2]:.0f} |")
    print(f"| storage without the events of runs, MB a day | {growth:.0f} |")
    for name, used in after.cpu_seconds.items():
        share = (used - before.cpu_seconds[name]) / seconds
        print(f"| {name}, processor seconds a second | {share:.2f} |")
    total = sum(after.cpu_seconds.values()) - sum(before.cpu_seconds.values())
    print(f"| all of them, processor seconds for each tick | {total / ticks[0]:.3f} |")


def _due_ticks_a_second(servers: TwoServers) -> float:
    """Return the ticks of the sensors of one pair, and of its schedule of partials."""
    both = (
        sender_definitions(load_sender_settings(servers.sender_environment())),
        receiver_definitions(load_receiver_settings(servers.receiver_environment())),
    )
    sensors = [one for side in both for one in side.get_repository_def().sensor_defs]
    return sum(1 / (sensor.minimum_interval_seconds or 30) for sensor in sensors) + 1 / 300


if __name__ == "__main__":
    main()
