"""Peak memory of a dump and of a load of a table of two million rows, each in its own process.

    .venv/bin/python benchmarks/memory.py [ROWS]

The operating system's figure (``ru_maxrss``) of each finished child is printed; the aim is 300 MB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline_tests.fix_sites import TwoSites

_TABLE = """
CREATE TABLE app_pose (id serial PRIMARY KEY, longitude double precision NOT NULL,
    latitude double precision NOT NULL, moment timestamptz NOT NULL, note text)
"""
_ROWS = """
INSERT INTO app_pose (longitude, latitude, moment, note)
SELECT -70.6 - n / 1e7, -33.4 + n / 1e7, now() - n * interval '1 s', 'pose ' || n
FROM generate_series(1, %s) AS n
"""


def main(rows: int) -> None:
    """Measure both processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "catalog.toml").write_text('name = "big"\ntables = ["app_*"]\n')
        with EmbeddedPostgres(folder / "postgres") as postgres:
            urls = [postgres.create_database(side) for side in ("sender", "receiver")]
            for url in urls:
                with psycopg.connect(url) as connection:
                    connection.execute(_TABLE)
            with psycopg.connect(urls[0]) as connection:
                connection.execute(_ROWS, [rows])
            for operation in ("dump", "load", "load of nothing new"):
                _measure(
                    operation, [sys.executable, __file__, "--child", operation, *urls, str(folder)]
                )
                if operation == "load":
                    _wait_again(folder)


def child(operation: str, sender: str, receiver: str, folder: Path) -> None:
    """What one measured process does."""
    sites = TwoSites(sender, receiver, load_catalog(folder / "catalog.toml"), folder)
    if operation == "dump":
        sites.complete()
    else:
        sites.load()


def _measure(operation: str, command: list[str]) -> None:
    started = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    verdict = "" if status == 0 else f" (failed, status {status})"
    print(f"{operation}: peak {usage.ru_maxrss / 1024:.0f} MB, {seconds:.1f} s{verdict}")


def _wait_again(folder: Path) -> None:
    for path in (folder / "spool" / "complete").glob("backup_*"):
        path.rename(path.with_name("NEW_" + path.name))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], sys.argv[4], Path(sys.argv[5]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000)
