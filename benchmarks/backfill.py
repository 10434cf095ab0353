"""A backfill of many missed windows, asked for as the UI does: one run, and how long it takes.

    .venv/bin/python -m benchmarks.backfill [--windows 200]

The demo's two servers with code servers, daemon and web server. Printed: seconds until Dagster's
backfill daemon has made the run, which looks every half minute; seconds from there to the run's
success, of those in its process; and the same for one window, which is what the process itself
costs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console

from ar_sync_pipeline.demo.dagster_process import HOST
from ar_sync_pipeline.demo.live import live_servers
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.operations.windows import KEY_FORMAT
from ar_sync_pipeline.sender.definitions import sender_definitions
from ar_sync_pipeline.settings.model import load_sender_settings

_BACKFILL = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_LONGEST_SECONDS = 600


def main(windows: int) -> None:
    """Backfill one window, then many."""
    folder = Path(tempfile.mkdtemp(prefix="ar-sync-backfill-"))
    port = free_port()
    try:
        with live_servers(folder / "servers", port, Console(quiet=True)) as servers:
            settings = load_sender_settings(servers.sender_environment())
            job = sender_definitions(settings).resolve_job_def("partial_dump")
            assets = [{"path": key.path} for key in job.asset_layer.selected_asset_keys]
            with dg.DagsterInstance.from_config(str(servers.dagster_home)) as instance:
                for count in (1, windows):
                    print(_measure(instance, port, assets, count))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(
    instance: dg.DagsterInstance, port: int, assets: list[dict[str, Any]], count: int
) -> str:
    # Yesterday's: the schedule leaves them alone, since nothing was ever sent before today.
    end = datetime.now(UTC) - timedelta(hours=4)
    names = [
        (end - timedelta(minutes=number)).strftime(KEY_FORMAT) for number in range(count, 0, -1)
    ]
    asked = time.time()
    backfill = _ask(port, {"assetSelection": assets, "partitionNames": names})
    record = _finished_run(instance, backfill)
    created = record.create_timestamp.timestamp()
    assert record.start_time is not None
    assert record.end_time is not None
    return (
        f"{count:4} windows, 1 run: made after {created - asked:4.1f} s, then"
        f" {record.end_time - created:4.1f} s to its success,"
        f" {record.end_time - record.start_time:4.1f} s of them in its process"
    )


def _ask(port: int, params: dict[str, Any]) -> str:
    body = json.dumps({"query": _BACKFILL, "variables": {"params": params}}).encode()
    request = urllib.request.Request(
        f"http://{HOST}:{port}/graphql", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        answer = json.load(response)["data"]["launchPartitionBackfill"]
    if "backfillId" not in answer:
        raise SystemExit(f"Dagster refuses the backfill: {answer}")
    return str(answer["backfillId"])


def _finished_run(instance: dg.DagsterInstance, backfill: str) -> dg.RunRecord:
    deadline = time.monotonic() + _LONGEST_SECONDS
    filters = dg.RunsFilter(tags={"dagster/backfill": backfill})
    while time.monotonic() < deadline:
        records = instance.get_run_records(filters)
        if records and records[0].dagster_run.is_finished:
            if len(records) > 1 or not records[0].dagster_run.is_success:
                raise SystemExit(f"{len(records)} runs, {records[0].dagster_run.status}")
            return records[0]
        time.sleep(0.2)
    raise SystemExit("the backfill did not end")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=200)
    main(parser.parse_args().windows)
