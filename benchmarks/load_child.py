"""One dump or load in a process of its own, so that memory and CPU are its own too.

    load_child.py dump|load SENDER RECEIVER FOLDER differing|all

With ``all`` the receiver behaves as one whose digest function is another than the sender's.
Prints what starting Python cost, which is no part of the deed; a load also how many chunks it
staged, and how many rows and MB it changed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import psycopg
from psycopg import sql

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.sync import stage_archives
from ar_sync_pipeline.sync.load import LoadReport
from ar_sync_pipeline_tests.fix_sites import TwoSites


def main(deed: str, sender: str, receiver: str, folder: str, staged: str) -> None:
    """Do it."""
    report: dict[str, float] = {"startup_cpu_seconds": time.process_time()}
    started = time.monotonic()
    sites = TwoSites(sender, receiver, load_catalog(None), Path(folder))
    if deed == "dump":
        sites.complete()
        report["seconds"] = time.monotonic() - started
    else:
        if staged == "all":
            stage_archives.probe_digest = lambda _: "another"  # type: ignore[assignment]
        loaded = sites.load()
        report["seconds"] = time.monotonic() - started
        report |= _changes(receiver, loaded)
    print(json.dumps(report))


def _changes(receiver: str, report: LoadReport) -> dict[str, float]:
    (loaded,) = report.loaded
    changed = {plan.table: plan.added + plan.changed + plan.deleted for plan in loaded.tables}
    return {
        "chunks": loaded.chunks,
        "chunks_staged": loaded.chunks_staged,
        "rows": sum(changed.values()),
        "mb": sum(rows * _row_mb(receiver, table) for table, rows in changed.items() if rows),
    }


def _row_mb(url: str, table: str) -> float:
    query = "SELECT avg(pg_column_size(t.*)) / 1e6 FROM (SELECT * FROM {} LIMIT 1000) AS t"
    with psycopg.connect(url) as connection:
        row = connection.execute(sql.SQL(query).format(sql.Identifier(table))).fetchone()
    return float(row[0] or 0) if row else 0.0


if __name__ == "__main__":
    main(*sys.argv[1:])
