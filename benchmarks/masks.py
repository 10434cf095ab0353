"""A complete's dump with column rules beside the same dump without them, in one run.

    python -m benchmarks.masks                     a table of a million rows and ten columns
    python -m benchmarks.masks --rows 300000       smaller
    python -m benchmarks.masks --requests 0.1      also the AndroidRequests tables, all their rules

Every kind of dump runs in each round, each time in another order, so that a busy machine slows all
of them. Ratios are those of the medians. CPU is that of client and server together.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from uuid import uuid4

import click
import psycopg
from psycopg import sql

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.dump_tables import SenderDatabase, dump_complete
from benchmarks.load_rows import fill_sender
from benchmarks.measuring import Figures, measure, median
from benchmarks.printing import Part, print_text

_TABLE = """
CREATE TABLE app_customer (id bigint PRIMARY KEY, email varchar(254) NOT NULL, name text NOT NULL,
  phone varchar(40), city text, latitude double precision, longitude double precision,
  balance numeric(12, 4), born date, changed timestamptz NOT NULL);
INSERT INTO app_customer SELECT i, 'customer' || i || '@example.org', 'Customer number ' || i,
  '+56 9 ' || 10000000 + i, 'Santiago', -33.4 - i / 1e7, -70.6 - i / 1e7, i / 7.0,
  date '1950-01-01' + i % 20000, '2026-01-01Z'::timestamptz + i * interval '1 s'
  FROM generate_series(1, {}) i;
"""
_RULES = {
    "no rule": "",
    "pseudonym": 'email = "pseudonym"',
    "round": "latitude = { round = 3 }",
    "truncate": 'changed = { truncate = "day" }',
    "all three": ('email = "pseudonym", latitude = { round = 3 }, changed = { truncate = "day" }'),
}
_WITH_PHONE = "SELECT table_name FROM information_schema.columns WHERE column_name = 'phoneId'"
_PHONE_OF_USER = """
UPDATE {} SET "phoneId" = md5((id % users.number)::text)::uuid
  FROM (SELECT count(*) AS number FROM "AndroidRequests_transappuser") AS users
"""
_KEY = "a secret of a benchmark, and of nothing else"


@click.command(help=__doc__)
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--requests", default=0.0, help="Scale of the AndroidRequests tables; 0: without.")
def main(*, rows: int, rounds: int, requests: float) -> None:
    """Print the figures of each kind of dump."""
    with tempfile.TemporaryDirectory(prefix="ar_sync_masks_") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = EmbeddedPostgres(folder / "cluster", settings={"shared_buffers": "512MB"})
        try:
            with server:
                url = server.create_database("customers")
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute(_TABLE.format(rows).encode())
                    connection.execute("VACUUM ANALYZE")
                _compare(server, url, folder, _customer_catalogs(folder), rounds, f"{rows:,} rows")
                if requests:
                    url = server.create_database("requests")
                    fill_sender(url, requests)
                    _share_phones(url)
                    title = f"AndroidRequests tables at scale {requests}"
                    _compare(server, url, folder, _requests_catalogs(folder), rounds, title)
        finally:
            server.destroy()


def _share_phones(url: str) -> None:
    """Let each user have one phone, whose id is then in many rows, as in production."""
    with psycopg.connect(url, autocommit=True) as connection:
        for (table,) in connection.execute(_WITH_PHONE).fetchall():
            connection.execute(sql.SQL(_PHONE_OF_USER).format(sql.Identifier(table)))
        connection.execute("VACUUM FULL ANALYZE")


def _customer_catalogs(folder: Path) -> dict[str, Path]:
    catalogs = {}
    for number, (kind, masks) in enumerate(_RULES.items()):
        section = f"[table.app_customer]\nmask = {{ {masks} }}\n" if masks else ""
        catalogs[kind] = folder / f"customers_{number}.toml"
        catalogs[kind].write_text(f'name = "masks"\ntables = ["app_*"]\n{section}')
    return catalogs


def _requests_catalogs(folder: Path) -> dict[str, Path]:
    text = resources.files("ar_sync_pipeline.catalog").joinpath("android_requests.toml").read_text()
    catalogs = {"no rule": folder / "requests.toml", "all its rules": folder / "masked.toml"}
    catalogs["no rule"].write_text(text)
    catalogs["all its rules"].write_text(re.sub(r"(?m)^# (?=mask = )", "", text))
    return catalogs


def _compare(
    server: EmbeddedPostgres,
    url: str,
    folder: Path,
    catalogs: Mapping[str, Path],
    rounds: int,
    title: str,
) -> None:
    runs: dict[str, list[Figures]] = {kind: [] for kind in catalogs}
    order = list(catalogs)
    for _ in range(rounds):
        for kind in order:
            command: list[str | Path] = [
                sys.executable,
                "-m",
                "benchmarks.masks",
                "--child",
                url,
                catalogs[kind],
                folder,
            ]
            figures, printed = measure(url, server.process_id, command)
            report = json.loads(printed)
            cpu = figures.cpu_seconds - report["startup_cpu_seconds"]
            runs[kind].append(Figures(report["seconds"], cpu, figures.wal_mb, figures.peak_mb))
        order = order[1:] + order[:1]
    print_text(Part(title, {kind: median(figures) for kind, figures in runs.items()}))


def _now() -> datetime:
    return datetime.now(UTC)


def child(url: str, catalog: str, folder: str) -> None:
    """Make one dump in a process of its own."""
    started_cpu, started = time.process_time(), time.monotonic()
    build = open_build(Path(folder), uuid4().hex)
    dump_complete(SenderDatabase(url, load_catalog(Path(catalog)), _now, pseudonym_key=_KEY), build)
    seconds = time.monotonic() - started
    for member in build.members.iterdir():
        member.unlink()
    print(json.dumps({"seconds": seconds, "startup_cpu_seconds": started_cpu}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
