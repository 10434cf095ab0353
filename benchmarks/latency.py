"""From commit, and from the end of a window, to visible at the receiver; where the time goes.

    .venv/bin/python -m benchmarks.latency [--minutes 30] [--window 1]

The demo's two servers with everything on: code servers, daemon, UI, windows of some minutes, and
traffic. A probe commits a report every few seconds, at no fixed distance from a window's end, and
looks at the receiver until it is there. The ledger names the archive that carried it, and
Dagster's records of the two runs say how long each phase took. The own time of a window is that
from its end to its last visible row. The processes of both runs may start before they have
anything to do; how long before is printed below the phases, and what memory they take then.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import psycopg
from rich.console import Console

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.demo.live import live_servers
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.demo.traffic import Traffic
from ar_sync_pipeline.demo.two_servers import TwoServers
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.pair_names import ALONE
from benchmarks.run_processes import WaitingProcesses

_PROBE_SECONDS = (4.0, 10.0)
_BURST_SECONDS = 20
_LOOK_SECONDS = 0.1
_DRAIN = timedelta(minutes=4)
_SLOWEST = 3
_PHASES = (
    "window still open",
    "until the snapshot",
    "dump, bundle, upload",
    "load is not there yet",
    "verify and load",
)
_INSERT = (
    'INSERT INTO "AndroidRequests_report" ("timeStamp", message, "reportInfo", "phoneId")'
    " VALUES (now(), 'probe', '{}', %s) RETURNING id"
)


@dataclass
class Probe:
    """A row on its way.

    Attributes:
        committed, visible: aware; ``visible`` is None until the receiver shows it.
    """

    row: int
    committed: datetime
    visible: datetime | None = None


@dataclass(frozen=True)
class Journey:
    """When an archive passed each station; the starts of both processes may be early."""

    closed: datetime
    dump_started: datetime
    snapshot: datetime
    published: datetime
    load_started: datetime


class _Watcher(threading.Thread):
    """Looks at the receiver for rows that are on their way."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._lock = threading.Lock()
        self._under_way: dict[int, Probe] = {}
        self._done = threading.Event()
        self.arrived: list[Probe] = []

    def expect(self, probe: Probe) -> None:
        with self._lock:
            self._under_way[probe.row] = probe

    def end(self) -> None:
        self._done.set()
        self.join()

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    def run(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as receiver:
            while not self._done.wait(_LOOK_SECONDS):
                with self._lock:
                    rows = list(self._under_way)
                found = receiver.execute(
                    'SELECT id FROM "AndroidRequests_report" WHERE id = ANY(%s)', [rows]
                ).fetchall()
                seen = datetime.now(UTC)
                with self._lock:
                    for (row,) in found:
                        probe = self._under_way.pop(row)
                        probe.visible = seen
                        self.arrived.append(probe)


def main(minutes: float, window: int) -> None:
    """Run for some minutes, with windows of ``window`` minutes, and print the table."""
    folder = Path(tempfile.mkdtemp(prefix="ar-sync-latency-"))
    console = Console(quiet=True)
    try:
        with live_servers(
            folder / "servers", free_port(), console, interval_minutes=window
        ) as servers:
            _wait_for_first_load(servers)
            watcher = _Watcher(servers.receiver_url)
            watcher.start()
            waiting = WaitingProcesses(servers.dagster_home, timedelta(minutes=window))
            waiting.start()
            _probe(servers, watcher, minutes, _DRAIN + timedelta(minutes=window))
            waiting.end()
            watcher.end()
            _report(watcher, _journeys(servers))
            print(waiting)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_first_load(servers: TwoServers) -> None:
    deadline = time.monotonic() + 300
    with psycopg.connect(servers.receiver_url, autocommit=True) as receiver:
        while time.monotonic() < deadline:
            row = receiver.execute("SELECT to_regclass('ar_sync.applied_archive')").fetchone()
            if row is not None and row[0] is not None:
                return
            time.sleep(1)
    raise SystemExit("nothing was loaded within five minutes")


def _probe(servers: TwoServers, watcher: _Watcher, minutes: float, drain: timedelta) -> None:
    chance = random.Random(7)  # noqa: S311  distances between probes
    until = time.monotonic() + 60 * minutes
    next_burst = 0.0
    with psycopg.connect(servers.sender_url) as production:
        traffic = Traffic(production, servers.sender_media, seed=7)
        while time.monotonic() < until:
            if time.monotonic() >= next_burst:
                traffic.burst(datetime.now(UTC), deletions=False)
                next_burst = time.monotonic() + _BURST_SECONDS
            row = production.execute(_INSERT, [uuid4()]).fetchone()
            production.commit()
            assert row is not None
            watcher.expect(Probe(row[0], datetime.now(UTC)))
            time.sleep(chance.uniform(*_PROBE_SECONDS))
    deadline = datetime.now(UTC) + drain
    while watcher.under_way and datetime.now(UTC) < deadline:
        time.sleep(1)


def _journeys(servers: TwoServers) -> dict[datetime, Journey]:
    """Every partial that was applied, by its snapshot."""
    with psycopg.connect(servers.receiver_url) as receiver:
        applied = receiver.execute(
            "SELECT name, snapshot_at, applied_at, window_end FROM ar_sync.applied_archive"
            " WHERE kind = 'partial' AND NOT superseded"
        ).fetchall()
    with dg.DagsterInstance.from_config(str(servers.dagster_home)) as instance:
        sent = _publications(instance)
        loads = [
            record
            for job in ("partial_loaddata", "complete_loaddata")
            for record in instance.get_run_records(dg.RunsFilter(job_name=job))
        ]
        journeys = {}
        for name, snapshot, applied_at, closed in applied:
            load = next((r for r in loads if _start(r) <= applied_at <= _end(r)), None)
            # An archive without rows is loaded without a run; the last dump may still be at work.
            if load is not None and name in sent:
                dump, age = sent[name]
                journeys[snapshot] = Journey(
                    closed, _start(dump), snapshot, snapshot + age, _start(load)
                )
    return journeys


def _publications(instance: dg.DagsterInstance) -> dict[str, tuple[dg.RunRecord, timedelta]]:
    """The run that published an archive, and the age of its snapshot then, by its name."""
    found = {}
    key = archive_key(ArchiveKind.PARTIAL, ALONE)
    events = instance.fetch_materializations(key, limit=10_000).records
    runs = {
        record.dagster_run.run_id: record
        for record in instance.get_run_records(dg.RunsFilter(job_name="partial_dump"))
    }
    for event in events:
        assert event.asset_materialization is not None
        # Of a range of windows, the newest one has the figures.
        figures = event.asset_materialization.metadata
        if "archive" in figures:
            age = timedelta(seconds=float(str(figures["snapshot_age_seconds"].value)))
            found[str(figures["archive"].value)] = (runs[event.run_id], age)
    return found


def _start(record: dg.RunRecord) -> datetime:
    return datetime.fromtimestamp(record.start_time or float("inf"), UTC)


def _end(record: dg.RunRecord) -> datetime:
    if record.end_time is None:
        return datetime.max.replace(tzinfo=UTC)
    return datetime.fromtimestamp(record.end_time, UTC)


def _report(watcher: _Watcher, journeys: dict[datetime, Journey]) -> None:
    totals, phases = [], []
    last_visible: dict[Journey, datetime] = {}
    for probe in watcher.arrived:
        assert probe.visible is not None
        totals.append((probe.visible - probe.committed).total_seconds())
        carrier = journeys.get(
            min((s for s in journeys if s > probe.committed), default=probe.committed)
        )
        if carrier is not None:
            phases.append(_durations(probe, carrier))
            before = last_visible.get(carrier, probe.visible)
            last_visible[carrier] = max(before, probe.visible)
    print(f"{len(totals)} probes arrived, {watcher.under_way} did not")
    print(f"load average of the machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    own = [(seen - way.closed).total_seconds() for way, seen in last_visible.items()]
    print(f"window closed to rows visible, {len(own)} windows: {_line(own)}")
    slowest = sorted(zip(own, last_visible, strict=True), key=lambda pair: -pair[0])[:_SLOWEST]
    shown = ", ".join(f"{seconds:.1f} s at {way.closed:%H:%M}" for seconds, way in slowest)
    first = min(way.closed for way in last_visible)
    print(f"the slowest: {shown}; the first window ended at {first:%H:%M}")
    print(f"commit to visible: {_line(totals)}")
    for number, phase in enumerate(_PHASES):
        print(f"  {phase:>28}: {_line([durations[number] for durations in phases])}")
    for what, early in (
        ("dump is there before the end", [way.closed - way.dump_started for way in last_visible]),
        ("load before the archive", [way.published - way.load_started for way in last_visible]),
    ):
        print(f"  {what:>28}: {_line([one.total_seconds() for one in early])}")


def _durations(probe: Probe, journey: Journey) -> list[float]:
    assert probe.visible is not None
    stations = (
        probe.committed,
        max(journey.closed, probe.committed),
        max(journey.snapshot, probe.committed),
        journey.published,
        max(journey.load_started, journey.published),
        probe.visible,
    )
    pairs = itertools.pairwise(stations)
    return [(later - earlier).total_seconds() for earlier, later in pairs]


def _line(seconds: Sequence[float]) -> str:
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
    return f"p50 {statistics.median(seconds):5.1f} s, p95 {p95:5.1f} s, max {max(seconds):5.1f} s"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--window", type=int, default=1, help="length of a window in minutes")
    chosen = parser.parse_args()
    main(chosen.minutes, chosen.window)
