"""One dump or load in a process of its own, so that memory and CPU are its own too.

    load_child.py dump|load SENDER RECEIVER FOLDER differing|all

With ``all`` the receiver behaves as one whose digest function is another than the sender's.
Prints what starting Python cost, which is no part of the operation; a load also how many chunks it
staged, and how many rows and MB it changed, as tuples alone and as they are stored.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.sync.load import stage_archives
from ar_sync_pipeline.sync.load.load_archives import LoadReport
from ar_sync_pipeline_tests.fix_sites import TwoSites


def main(operation: str, sender: str, receiver: str, folder: str, staged: str) -> None:
    """Do it."""
    report: dict[str, Any] = {"startup_cpu_seconds": time.process_time()}
    started = time.monotonic()
    sites = TwoSites(sender, receiver, load_catalog(None), Path(folder))
    if operation == "dump":
        sites.complete()
        report["seconds"] = time.monotonic() - started
    else:
        if staged == "all":
            stage_archives.probe_digest = lambda _: "another"  # type: ignore[attr-defined, assignment]
        loaded = sites.load()
        report["seconds"] = time.monotonic() - started
        report |= _changes(receiver, loaded)
    print(json.dumps(report))


def _changes(receiver: str, report: LoadReport) -> dict[str, Any]:
    (loaded,) = report.loaded
    changed = {plan.table: plan.added + plan.changed + plan.deleted for plan in loaded.tables}
    sizes = {table: _row_bytes(receiver, table) for table, rows in changed.items() if rows}
    return {
        "phases": dict(report.seconds),
        "chunks": loaded.chunks,
        "chunks_staged": loaded.chunks_staged,
        "rows": sum(changed.values()),
        "row_mb": sum(changed[table] * row for table, (row, _) in sizes.items()) / 1e6,
        "stored_mb": sum(changed[table] * stored for table, (_, stored) in sizes.items()) / 1e6,
    }


def _row_bytes(url: str, table: str) -> tuple[float, float]:
    """The average size of a row: as a tuple alone, and with its share of pages and indexes."""
    query = sql.SQL(
        "SELECT (SELECT avg(pg_column_size(t.*)) FROM (SELECT * FROM {table} LIMIT 1000) AS t),"
        " pg_total_relation_size({name}) / (SELECT count(*) FROM {table})"
    ).format(table=sql.Identifier(table), name=sql.Literal(f'"{table}"'))
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    return (float(row[0]), float(row[1])) if row and row[0] else (0.0, 0.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
