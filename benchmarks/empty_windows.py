"""Processor time that a window costs in which nothing changed, on both sides.

    .venv/bin/python -m benchmarks.empty_windows [--minutes 6]

The demo's two servers with everything on, windows of one minute, and no traffic. The processor time
of a code server's ended children is that of its runs; its own is that of ticks and queries.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import dagster as dg
import psycopg
from rich.console import Console

from ar_sync_pipeline.demo import live
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.demo.two_servers import TwoServers

_SETTLES_SECONDS = 150
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=6)
    minutes = parser.parse_args().minutes
    live._COMPLETE_CRON = "30 3 * * *"  # noqa: SLF001  a complete is not what is measured
    folder = Path(tempfile.mkdtemp(prefix="ar_sync_empty_windows_"))
    with live.live_servers(folder / "demo", free_port(), Console(quiet=True)) as servers:
        time.sleep(_SETTLES_SECONDS)
        before, archives = _used(folder), _applied(servers)
        time.sleep(60 * minutes)
        after, archives = _used(folder), _applied(servers) - archives
        _print({name: after[name] - before[name] for name in after}, archives)
        with dg.DagsterInstance.from_config(str(servers.dagster_home)) as instance:
            for job in ("partial_dump", "partial_loaddata"):
                print(job, "runs:", instance.get_runs_count(dg.RunsFilter(job_name=job)))


def _print(seconds: dict[str, float], archives: int) -> None:
    print(f"\n{archives} archives were applied.\n\n| process | CPU s a window |\n|---|--:|")
    for name, used in sorted(seconds.items()):
        print(f"| {name} | {used / max(archives, 1):.2f} |")


def _applied(servers: TwoServers) -> int:
    with psycopg.connect(servers.receiver_url) as receiver:
        row = receiver.execute("SELECT count(*) FROM ar_sync.applied_archive").fetchone()
    return int(row[0]) if row else 0


def _used(folder: Path) -> dict[str, float]:
    """Return the processor seconds of each process of the demo, and of its ended children."""
    found: dict[str, float] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode().split("\0")
            home = (path / "environ").read_bytes().decode()
            stat = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        name = next((label for label, word in _NAMES.items() if word in words), None)
        if name is None or str(folder) not in home:
            continue
        own, of_children = sum(map(int, stat[11:13])), sum(map(int, stat[13:15]))
        found[name] = found.get(name, 0) + own / _TICKS
        found[f"{name}, its runs"] = found.get(f"{name}, its runs", 0) + of_children / _TICKS
    return found


_NAMES = {
    "sender": "ar_sync_pipeline.sender",
    "receiver": "ar_sync_pipeline.receiver",
    "daemon": "run",
}


if __name__ == "__main__":
    main()
