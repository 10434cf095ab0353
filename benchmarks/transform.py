"""How long `builtin:transapp` takes and how much memory, by the number of untransformed events.

    python -m benchmarks.transform                 1,000 to 100,000 events
    python -m benchmarks.transform --million       1,000,000 too
    python -m benchmarks.transform --events 20000  one size

Each size gets a fresh receiver on a real PostgreSQL: half bus events, half stop events, a report
per ten events, eight poses per event (never fewer than 800,000, so that a small batch meets a
large table), 12,000 stops and 866 zones of 37 corners. A partial is 500 events on top of it.

Client and server share one core. CPU seconds are those of both together: unlike the wall's, they
do not grow with what else the machine does. Memory is the client's peak, and the peak of what a
server process has for itself (without the buffers that all share).

The aims: 100,000 events in 10 s and 500 MB, a partial on top of them in 0.5 s, and from 1,000 to
1,000,000 events no more than a thousand times the CPU. What stands once for every run (stops,
plates, zones) is most of 1,000 events; beyond 100,000 the 8,000,000 poses outgrow the server's
buffers, and a pose costs twice as much to read.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import psycopg
import shapely

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.demo.schema import create_receiver_schema
from ar_sync_pipeline.transform.transapp.report import TransformReport
from ar_sync_pipeline.transform.transapp.run import run_transapp

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTIAL_EVENTS = 500
MIN_POSES = 800_000
POSES_PER_EVENT = 8

_CITY = """
SELECT setseed(0.42);
INSERT INTO "AndroidRequests_gtfs" (id, version, "timeCreation")
  VALUES (1, 'v1', '2026-01-01Z'), (2, 'v2', '2026-06-01Z');
INSERT INTO "AndroidRequests_busstop" (id, code, name, longitude, latitude, gtfs_id)
  SELECT i, 'P' || i, 'stop', -70.85 + random() * 0.4, -33.65 + random() * 0.35, 2
  FROM generate_series(1, 12000) i;
INSERT INTO "AndroidRequests_event" (id, name, lifespam, category, origin, "eventType")
  VALUES ('evn00200', 'full', 30, 'bus', 'o', 'bus');
INSERT INTO "AndroidRequests_busv2" (id, "registrationPlate", uuid)
  SELECT i, 'BC' || chr(65 + i % 26) || chr(65 + i / 26 % 26) || lpad((i % 100)::text, 2, '0'),
    gen_random_uuid() FROM generate_series(1, 16000) i;
INSERT INTO "AndroidRequests_busassignment" (id, service, uuid_id)
  SELECT i, '507', i FROM generate_series(1, 16000) i;
CREATE TABLE phone AS SELECT i AS id, gen_random_uuid() AS uuid FROM generate_series(0, 9999) i;
INSERT INTO "AndroidRequests_token" (id, token, direction, color, "phoneId", busassignment_id)
  SELECT i, 't' || i, CASE WHEN i % 9 > 0 THEN chr((CASE WHEN i % 2 = 0 THEN 73 ELSE 82 END)) END,
    '#fff', phone.uuid, i
  FROM generate_series(1, 16000) i JOIN phone ON phone.id = i % 10000;
INSERT INTO "AndroidRequests_halfhourperiod" (id, name, initial_time, end_time)
  SELECT i, 'half ' || i, '00:00'::time + (i - 1) * interval '30 min',
    '00:29:59'::time + (i - 1) * interval '30 min' FROM generate_series(1, 48) i;
INSERT INTO "AndroidRequests_timeperiod" (id, day_type, name, initial_time, end_time)
  SELECT row_number() OVER (), day, 'period', '00:00'::time + i * interval '2 h',
    '01:59:59'::time + i * interval '2 h'
  FROM unnest(ARRAY['Laboral', 'Sábado', 'Domingo']) day, generate_series(0, 11) i;
"""
_POSES = """
INSERT INTO "AndroidRequests_poseintrajectoryoftoken"
  (id, longitude, latitude, "timeStamp", "inVehicleOrNot", token_id)
SELECT i, -70.6, -33.4, '2026-10-01Z'::timestamptz + i * interval '1 s', 'vehicle', 1 + i %% 16000
FROM generate_series(1, %(poses)s::int) i
"""
_EVENTS = """
INSERT INTO "AndroidRequests_eventforbusv2" (id, "timeStamp", "timeCreation", "eventConfirm",
    "eventDecline", "phoneId", busassignment_id, event_id, broken)
  SELECT i, '2026-10-01Z'::timestamptz + i * interval '16 s',
    '2026-10-01Z'::timestamptz + i * interval '15 s', 1, 0, phone.uuid, 1 + i %% 16000,
    'evn00200', false
  FROM generate_series(%(first)s::int, %(last)s::int) i
  JOIN phone ON phone.id = hashint4(i) & 8191;
INSERT INTO "AndroidRequests_eventforbusstop" (id, "timeStamp", "timeCreation", "eventConfirm",
    "eventDecline", "phoneId", "aditionalInfo", event_id, "stopCode", broken)
  SELECT i, '2026-10-01Z'::timestamptz + i * interval '16 s',
    '2026-10-01Z'::timestamptz + i * interval '15 s', 1, 0, phone.uuid, '', 'evn00200', 'P1', false
  FROM generate_series(%(first)s::int, %(last)s::int) i
  JOIN phone ON phone.id = hashint4(i) & 8191;
INSERT INTO "AndroidRequests_stadisticdatafromregistrationbus"
    (longitude, latitude, "timeStamp", "confirmDecline", "phoneId", "reportOfEvent_id")
  SELECT -70.85 + random() * 0.4, -33.65 + random() * 0.35, "timeStamp", 'confirm', "phoneId", id
  FROM "AndroidRequests_eventforbusv2", generate_series(0, id %% 2)
  WHERE id BETWEEN %(first)s::int AND %(last)s::int;
INSERT INTO "AndroidRequests_stadisticdatafromregistrationbusstop"
    (longitude, latitude, "timeStamp", "confirmDecline", "phoneId", "reportOfEvent_id")
  SELECT -70.85 + random() * 0.4, -33.65 + random() * 0.35, "timeStamp", 'confirm', "phoneId", id
  FROM "AndroidRequests_eventforbusstop", generate_series(0, id %% 2)
  WHERE id BETWEEN %(first)s::int AND %(last)s::int;
INSERT INTO "AndroidRequests_report" (id, "timeStamp", message, "reportInfo", "phoneId")
  SELECT i, '2026-10-01Z'::timestamptz + i * interval '16 s', 'late', json_build_object(
      'locationUser', json_build_object('latitude', '\\/' || -33.65 + random() * 0.35,
        'longitude', '\\/' || -70.85 + random() * 0.4),
      'bus', json_build_object('service', '507', 'licensePlate', bus."registrationPlate",
        'machineId', bus.uuid, 'latitude', -33.5, 'longitude', -70.6))::text, phone.uuid
  FROM generate_series(%(first)s::int, %(last)s::int, 5) i
  JOIN "AndroidRequests_busv2" bus ON bus.id = 1 + i %% 16000
  JOIN phone ON phone.id = hashint4(i) & 8191;
"""


@click.command(help=__doc__)
@click.option("--million", is_flag=True, help="Measure 1,000,000 events too.")
@click.option("--events", type=int, help="Measure this size only.")
def main(*, million: bool, events: int | None) -> None:
    """Print a table of sizes and a table of steps for each."""
    sizes = [events] if events else [1_000, 10_000, 100_000, *([1_000_000] if million else [])]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder) / "cluster") as server:
        for size in sizes:
            url = server.create_database(f"size_{size}")
            _fill(url, size)
            _print(f"{size:,} events", _measured(url, server))
            _add_events(url, size // 2 + 1, size // 2 + PARTIAL_EVENTS // 2)
            _print(f"  then a partial of {PARTIAL_EVENTS}", _measured(url, server))


@contextmanager
def _server(folder: Path) -> Iterator[EmbeddedPostgres]:
    # A receiver of a million events has more buffers than a throw-away server: as many as the
    # one on which the old system was measured.
    server = EmbeddedPostgres(folder, settings={"shared_buffers": "512MB"})
    try:
        with server:
            yield server
    finally:
        server.destroy()


def _fill(url: str, events: int) -> None:
    with psycopg.connect(url) as connection:
        create_receiver_schema(connection)
        connection.execute(_CITY.encode())
        connection.execute(_POSES, {"poses": max(MIN_POSES, POSES_PER_EVENT * events)})
        with connection.cursor() as cursor:
            cursor.executemany(
                'INSERT INTO "AndroidRequests_zonificationtransantiago" (id, area, zona, com, '
                "comuna, cartodb_id, created_at, updated_at, geom) "
                "VALUES (%s, 1, 1, '', '', 1, '2015-05-27', '2015-06-30', %s)",
                enumerate(_zones(), 1),
            )
    _add_events(url, 1, events // 2)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


def _add_events(url: str, first: int, last: int) -> None:
    with psycopg.connect(url) as connection:
        cursor = psycopg.ClientCursor(connection)
        cursor.execute(_EVENTS, {"first": first, "last": last})


def _zones() -> list[bytes]:
    """866 discs of 36 sides over the city, overlapping a little."""
    across = np.linspace(-70.85, -70.45, 34)
    along = np.linspace(-33.65, -33.30, 26)
    centres = np.array([(x, y) for y in along for x in across])[:866]
    discs = shapely.buffer(shapely.points(centres), 0.0075, quad_segs=9)
    return [shapely.to_wkb(shapely.MultiPolygon([disc])) for disc in discs]


@dataclass(frozen=True)
class Measured:
    """What one run took."""

    report: TransformReport
    seconds: float
    cpu_seconds: float
    client_mb: float
    server_mb: float


def _measured(url: str, server: EmbeddedPostgres) -> Measured:
    """Run in a process of its own, so that the peak of memory is that of the transform."""
    family = _ServerProcesses(server.process_id)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answer = pool.apply_async(_run, (url,))
        while not answer.ready():
            family.look()
            answer.wait(0.02)
        report, seconds, client_cpu_seconds, client_mb = answer.get()
    return Measured(
        report, seconds, client_cpu_seconds + family.cpu_seconds(), client_mb, family.peak_mb
    )


def _run(url: str) -> tuple[TransformReport, float, float, float]:
    start, cpu_start = time.perf_counter(), time.process_time()
    report = run_transapp(url, clock=lambda: datetime.now(UTC))
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return report, seconds, cpu_seconds, peak_mb


class _ServerProcesses:
    """CPU and memory of a postmaster's children, from /proc (proc(5))."""

    def __init__(self, postmaster: int) -> None:
        self._postmaster = postmaster
        self._start = self._ticks()
        self.peak_mb = 0.0

    def look(self) -> None:
        for child in self._children():
            with suppress(OSError, IndexError):  # ended, or about to be
                status = Path(f"/proc/{child}/status").read_text()
                kilobytes = int(status.partition("RssAnon:")[2].split()[0])
                self.peak_mb = max(self.peak_mb, kilobytes / 1024)

    def cpu_seconds(self) -> float:
        """Since the start, children that have ended included."""
        time.sleep(0.2)  # until the postmaster has waited for the ended ones
        return (self._ticks() - self._start) / os.sysconf("SC_CLK_TCK")

    def _ticks(self) -> int:
        # Fields 14 to 17: the process's own time and that of the children it has waited for.
        ticks = 0
        for process in (self._postmaster, *self._children()):
            with suppress(OSError):
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
        return ticks

    def _children(self) -> list[int]:
        task = Path(f"/proc/{self._postmaster}/task/{self._postmaster}/children")
        return [int(word) for word in task.read_text().split()]


def _print(title: str, run: Measured) -> None:
    report = run.report
    handled = sum(rows for table, rows in report.handled.items() if "event" in table)
    print(
        f"{title:26} {run.seconds:7.2f} s {run.cpu_seconds:7.2f} s CPU"
        f" ({1e6 * run.cpu_seconds / handled:4.0f} us per event)"
        f"   {run.client_mb:3.0f} + {run.server_mb:3.0f} MB   {report.batches} batches"
    )
    steps = sorted(report.seconds.items(), key=lambda item: -item[1])
    print("    " + ", ".join(f"{step} {spent:.2f}" for step, spent in steps))
    print(f"    {handled:,} events handled; {dict(report.rows)}", flush=True)


if __name__ == "__main__":
    main()
