"""A complete's dump and load beside what people run instead, in one run on the same data.

    python -m benchmarks.load                        2.7 million rows, a few minutes
    python -m benchmarks.load --scale 1              10.6 million rows
    python -m benchmarks.load --changes recent       one kind of changes only
    python -m benchmarks.load --markdown             for a page

A real PostgreSQL (fsync on, 1 GB of shared buffers) holds a sender and a receiver that has
yesterday's state. Then about 1 % of the rows change, and each way brings a copy of that receiver
up to date while readers look at it. WAL is compared with the changed rows as they are stored, with
their index entries. Trust the ratios, not the seconds.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import psycopg
from psycopg import sql

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from benchmarks.load_rows import (
    CHANGES,
    change_sender,
    fill_sender,
    make_receiver,
    sizes,
    transform,
)
from benchmarks.measuring import Figures, measure, median
from benchmarks.printing import Part, print_markdown, print_text

_SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "autovacuum": "off"}
Command = Callable[[str], Sequence[str | Path]]

_CHUNKS = "only chunks that differ"
_EVERYTHING = "everything staged"

_DROP = """DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE format('DROP TABLE IF EXISTS %I CASCADE', name); END LOOP;
  DROP SEQUENCE IF EXISTS "AndroidRequests_busstop_id_seq", "AndroidRequests_service_id_seq",
    "AndroidRequests_token_id_seq" CASCADE; END $$"""


@dataclass(frozen=True)
class _Bench:
    server: EmbeddedPostgres
    folder: Path
    scale: float
    show: Callable[[Part], None]

    @property
    def sender(self) -> str:
        return self.server.url("sender")

    @property
    def archive(self) -> Path:
        return max((self.folder / "spool" / "complete").glob("*backup_*"), key=_age)

    @property
    def plain_dump(self) -> Path:
        return self.folder / "plain.tar.gz"

    @property
    def folder_dump(self) -> Path:
        return self.folder / "pg_dump"

    @property
    def zstd_dump(self) -> Path:
        return self.folder / "pg_dump_zstd"

    def program(self, name: str) -> Path:
        return self.server.binaries.program(name)

    def measure(
        self, url: str, command: Sequence[str | Path], *, watched: bool = False
    ) -> tuple[Figures, str]:
        return measure(url, self.server.process_id, command, watched=watched)

    def ours(
        self, operation: str, receiver: str, way: str = _CHUNKS, *, watched: bool = False
    ) -> tuple[Figures, dict[str, Any]]:
        child = Path(__file__).with_name("load_child.py")
        staged = "all" if way == _EVERYTHING else "differing"
        command: list[str | Path] = [
            sys.executable,
            child,
            operation,
            self.sender,
            receiver,
            self.folder,
            staged,
        ]
        figures, printed = self.measure(receiver, command, watched=watched)
        report = json.loads(printed)
        cpu_seconds = figures.cpu_seconds - report["startup_cpu_seconds"]
        return replace(figures, seconds=report["seconds"], cpu_seconds=cpu_seconds), report

    def old_dump(self) -> list[str | Path]:
        """As the old system does it: a plain dump, packed twice."""
        work = self.folder / "plain"
        script = (
            f"mkdir -p {work} && {self.program('pg_dump')} {self.sender} -f {work}/dump.sql"
            f" && tar -C {work} -czf {work}/dump.tar.gz dump.sql && rm {work}/dump.sql"
            f" && tar -C {work} -czf {self.plain_dump} dump.tar.gz && rm -r {work}"
        )
        return ["bash", "-euc", script]

    def old_load(self, receiver: str) -> list[str | Path]:
        script = (
            f"set -o pipefail; {self.program('psql')} -qX {receiver} -c '{_quoted(_DROP)}' 2>&1 |"
            f" cat >/dev/null; tar -xzOf {self.plain_dump} | tar -xzO |"
            f" {self.program('psql')} -qX {receiver} >/dev/null"
        )
        return ["bash", "-euc", script]

    def pg_dump(self) -> list[str | Path]:
        command = [self.program("pg_dump"), "-Fd", "-j2", "-f", self.folder_dump, self.sender]
        return ["bash", "-euc", f"rm -rf {self.folder_dump}; {' '.join(map(str, command))}"]

    def pg_dump_zstd(self, program: Path) -> list[str | Path]:
        """With zstd, which the programs of version 16 and newer may offer."""
        words = [program, "-Fd", "-j2", "--compress=zstd:1", "-f", self.zstd_dump, self.sender]
        return ["bash", "-euc", f"rm -rf {self.zstd_dump}; {' '.join(map(str, words))}"]

    def pg_restore(self, receiver: str) -> list[str | Path]:
        script = (
            f"{self.program('psql')} -qX {receiver} -c '{_quoted(_DROP)}' 2>/dev/null;"
            f" {self.program('pg_restore')} -j2 -d {receiver} {self.folder_dump}"
        )
        return ["bash", "-euc", script]


@click.command(help=__doc__)
@click.option("--scale", default=0.25, show_default=True, help="1 is 10.6 million rows.")
@click.option("--repeat", default=1, show_default=True, help="Runs of each way, interleaved.")
@click.option("--changes", type=click.Choice(CHANGES), multiple=True, default=CHANGES)
@click.option("--only-first", is_flag=True, help="Leave out the later completes.")
@click.option("--markdown", is_flag=True, help="Print the tables as markdown.")
@click.option(
    "--zstd-pg-dump",
    type=click.Path(exists=True, path_type=Path),
    help="A newer pg_dump with zstd, measured beside the server's own.",
)
@click.option("--ours/--all", "only_ours", default=False, help="Leave out what others run.")
def main(
    *,
    scale: float,
    repeat: int,
    changes: tuple[str, ...],
    only_first: bool,
    markdown: bool,
    zstd_pg_dump: Path | None,
    only_ours: bool,
) -> None:
    """Print a table for each part."""
    show = print_markdown if markdown else print_text
    with _bench(scale, show) as bench:
        fill_sender(bench.server.create_database("sender"), scale)
        rows = sum(sizes(scale).values())
        print(f"{rows:,} rows, {_size_mb(bench.sender):,.0f} MB, {_versions(bench)}", flush=True)
        _measure_dumps(bench, repeat, zstd_pg_dump, only_ours=only_ours)
        _first_load(bench, repeat, only_ours=only_ours)
        if only_first:
            return
        bench.server.create_database("sender_before", "sender")
        for kind in changes:
            _measure_changes(bench, kind, repeat, only_ours=only_ours)


@contextmanager
def _bench(scale: float, show: Callable[[Part], None]) -> Iterator[_Bench]:
    with tempfile.TemporaryDirectory(prefix="ar_sync_load_") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = EmbeddedPostgres(folder / "cluster", durable=True, settings=_SETTINGS)
        try:
            with server:
                yield _Bench(server, folder, scale, show)
        finally:
            server.destroy()


def _measure_dumps(
    bench: _Bench, repeat: int, zstd_pg_dump: Path | None, *, only_ours: bool
) -> None:
    ways = {} if only_ours else _other_dumps(bench, zstd_pg_dump)
    runs: dict[str, list[Figures]] = {way: [] for way in ("ours", *ways)}
    for number in range(repeat):
        if number:
            bench.archive.unlink()
        runs["ours"].append(bench.ours("dump", bench.sender)[0])
        for way, (command, _) in ways.items():
            runs[way].append(bench.measure(bench.sender, command)[0])
    archives = {"ours": bench.archive} | {way: archive for way, (_, archive) in ways.items()}
    notes = {way: f"{_folder_mb(path):.0f} MB" for way, path in archives.items()}
    figures = {way: median(each) for way, each in runs.items()}
    bench.show(Part("dump of everything", figures, notes=notes))


def _other_dumps(
    bench: _Bench, zstd_pg_dump: Path | None
) -> dict[str, tuple[Sequence[str | Path], Path]]:
    """The command and the result of each way."""
    ways: dict[str, tuple[Sequence[str | Path], Path]] = {
        "pg_dump -Fd -j2": (bench.pg_dump(), bench.folder_dump),
        "old: plain, tar -z twice": (bench.old_dump(), bench.plain_dump),
    }
    if zstd_pg_dump is not None:
        ways["newer pg_dump -Fd -j2, zstd:1"] = (bench.pg_dump_zstd(zstd_pg_dump), bench.zstd_dump)
    return ways


def _first_load(bench: _Bench, repeat: int, *, only_ours: bool) -> None:
    """Leaves the database ``yesterday``: loaded, transformed, vacuumed."""
    others = _others(bench) if not only_ours else {}
    runs: dict[str, list[Figures]] = {way: [] for way in ("ours", *others)}
    for number in range(repeat):
        if number:
            bench.server.drop_database("yesterday")
            _make_wait_again(bench.archive)
        receiver = bench.server.create_database("yesterday")
        make_receiver(receiver)
        figures, report = bench.ours("load", receiver)
        runs["ours"].append(figures)
        _demand_equal(bench, receiver)
        for way, command in others.items():
            url = bench.server.create_database("other")
            runs[way].append(bench.measure(url, command(url))[0])
            bench.server.drop_database("other")
    phases = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in report["phases"].items())
    title = f"first load, into an empty receiver ({phases})"
    bench.show(Part(title, {way: median(figures) for way, figures in runs.items()}))
    transform(receiver)


def _measure_changes(bench: _Bench, kind: str, repeat: int, *, only_ours: bool) -> None:
    bench.server.drop_database("sender")
    bench.server.create_database("sender", "sender_before")
    change_sender(bench.sender, bench.scale, kind)
    bench.ours("dump", bench.sender)
    others: dict[str, Command] = {}
    if not only_ours:
        bench.measure(bench.sender, bench.pg_dump())
        bench.measure(bench.sender, bench.old_dump())
        others = _others(bench)
    runs: dict[str, list[Figures]] = {way: [] for way in (_CHUNKS, _EVERYTHING, *others)}
    reports: dict[str, dict[str, Any]] = {}
    for _ in range(repeat):
        for way, measured in runs.items():
            url = bench.server.create_database("today", "yesterday")
            if way in others:
                figures, _ = bench.measure(url, others[way](url), watched=True)
            else:
                figures, reports[way] = bench.ours("load", url, way, watched=True)
                _make_wait_again(bench.archive)
                _demand_equal(bench, url)
            measured.append(figures)
            bench.server.drop_database("today")
    report = reports[_CHUNKS]
    title = (
        f"1 % changed, {kind}: {report['rows']:,.0f} rows, {report['row_mb']:.1f} MB, with their"
        f" index entries {report['stored_mb']:.1f} MB;"
        f" {report['chunks_staged']} of {report['chunks']} chunks differ"
    )
    medians = {way: median(r) for way, r in runs.items()}
    bench.show(Part(title, medians, changed_mb=report["stored_mb"]))
    bench.archive.unlink()


def _others(bench: _Bench) -> dict[str, Command]:
    return {
        "DROP, pg_restore -j2": bench.pg_restore,
        "old: DROP, tar -xz twice, psql": bench.old_load,
    }


def _demand_equal(bench: _Bench, receiver: str) -> None:
    """Compare the big tables by a way that shares nothing with the product's digests."""
    query = """SELECT count(*), sum(('x' || left(md5(ROW({})::text), 15))::bit(60)::bigint)
               FROM {}"""
    tables = {
        "poseintrajectoryoftoken": ("id", "longitude", "timeStamp", "token_id"),
        "stadisticdatafromregistrationbus": ("id", "phoneId", "reportOfEvent_id", "distance"),
        "eventforbusv2": ("id", "timeStamp", "eventConfirm", "phoneId", "broken"),
        "token": ("id", "token", "userEvaluation"),
    }
    for table, columns in tables.items():
        statement = sql.SQL(query).format(
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.Identifier(f"AndroidRequests_{table}"),
        )
        found = []
        for url in (bench.sender, receiver):
            with psycopg.connect(url) as connection:
                found.append(connection.execute(statement).fetchone())
        assert found[0] == found[1], f"{table}: {found}"


def _make_wait_again(archive: Path) -> None:
    archive.rename(archive.with_name("NEW_" + archive.name.removeprefix("NEW_")))


def _size_mb(url: str) -> float:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    return int(row[0]) / 1e6


def _versions(bench: _Bench) -> str:
    with psycopg.connect(bench.sender) as connection:
        version = connection.info.server_version
    cores = len(os.sched_getaffinity(0))
    return f"PostgreSQL {version // 10000}.{version % 10000}, {cores} cores, {platform.machine()}"


def _folder_mb(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6


def _age(path: Path) -> str:
    return path.name.removeprefix("NEW_")


def _quoted(statement: str) -> str:
    return statement.replace("'", "'\\''")


if __name__ == "__main__":
    main()
