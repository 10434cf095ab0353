"""Scenario of the demo: production changes, the receiver follows, every row is compared."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from rich.console import Console

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.demo.equality import compare_media, prove_equal_tables
from ar_sync_pipeline.demo.errors import DemoRunError
from ar_sync_pipeline.demo.report import database_table, media_line
from ar_sync_pipeline.demo.traffic import Traffic
from ar_sync_pipeline.demo.two_servers import TwoServers, two_servers
from ar_sync_pipeline.operations.runs.local_runs import Definitions, LocalRuns
from ar_sync_pipeline.receiver.definitions import receiver_definitions
from ar_sync_pipeline.sender.definitions import sender_definitions
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings

_INTERVAL_MINUTES = 5
_SEED = 7


def run_scenario(folder: Path, console: Console) -> bool:
    """Run the whole demo; return whether the receiver ended equal to the sender.

    Raises:
        DemoRunError: A job failed; the message is that of the job.
    """
    started = time.monotonic()
    with two_servers(folder, interval_minutes=_INTERVAL_MINUTES) as servers:
        console.print(f"Two servers, a city of buses, 200 pictures ({_since(started)})")
        with LocalRuns(servers.dagster_home) as runs:
            equal = _Demo(servers, runs, console).run()
    console.print(f"All in {_since(started)}.")
    console.print("To watch the same with live traffic in the Dagster UI: make demo-ui")
    return equal


_DRIFT = """
SELECT coalesce(sum((change ->> 'drift')::int), -1)
  FROM (SELECT plan FROM ar_sync.applied_archive
         WHERE kind = 'complete' ORDER BY snapshot_at DESC LIMIT 1) newest,
       jsonb_array_elements(newest.plan) change
"""


@dataclass(frozen=True)
class _Demo:
    servers: TwoServers
    runs: LocalRuns
    console: Console

    def run(self) -> bool:
        sender = sender_definitions(load_sender_settings(self.servers.sender_environment()))
        receiver = receiver_definitions(load_receiver_settings(self.servers.receiver_environment()))
        self.console.rule("One complete into an empty receiver")
        self._run(sender, "complete_dump")
        self._run(receiver, "complete_loaddata")
        with psycopg.connect(self.servers.sender_url) as production:
            traffic = Traffic(production, self.servers.sender_media, seed=_SEED)
            up_to_date = True
            for number in ("first", "second"):
                self.console.rule(f"Production changes; the {number} partial")
                self._change_production(traffic)
                self._run(sender, "partial_dump", windowed=True)
                self._run(receiver, "partial_loaddata")
                up_to_date &= self._partial_is_complete()
            self.console.rule("Production changes; another complete")
            self._change_production(traffic)
        self._run(sender, "complete_dump")
        self._run(receiver, "complete_loaddata")
        return self._is_equal() and up_to_date and self._drift() == 0

    def _change_production(self, traffic: Traffic) -> None:
        burst = traffic.burst(datetime.now(UTC))
        self.console.print(
            f"  rows: {sum(burst.inserted.values())} inserted, {sum(burst.updated.values())}"
            f" updated, {sum(burst.deleted.values())} deleted; pictures:"
            f" {len(burst.new_pictures)} new, {len(burst.changed_pictures)} changed"
        )

    def _run(self, definitions: Definitions, job: str, *, windowed: bool = False) -> None:
        started = time.monotonic()
        outcome = self.runs.run(definitions, job, windowed=windowed)
        if not outcome.succeeded:
            raise DemoRunError(job, outcome.failures)
        self.console.print(f"  {job} succeeded ({_since(started)})")

    def _partial_is_complete(self) -> bool:
        """Return whether everything but deletions has arrived; only completes replicate those."""
        tables = prove_equal_tables(
            self.servers.sender_url,
            self.servers.receiver_url,
            transformed_in_place=_transformed_in_place(),
        )
        media = compare_media(self.servers.sender_media, self.servers.receiver_media)
        lacking = sum(table.missing_rows + table.changed_rows for table in tables)
        deleted = sum(table.extra_rows for table in tables)
        self.console.print(
            f"  rows that the receiver lacks or has otherwise: {lacking}; deleted at the sender"
            f" and kept until the next complete: {deleted}"
        )
        return lacking == 0 and media.equal

    def _drift(self) -> int:
        """Return the number of rows that the partials missed and the last complete repaired."""
        with psycopg.connect(self.servers.receiver_url) as receiver:
            row = receiver.execute(_DRIFT).fetchone()
        rows = int(row[0]) if row else 0
        self.console.print(f"Rows that the partials had missed and the complete repaired: {rows}")
        return rows

    def _is_equal(self) -> bool:
        tables = prove_equal_tables(
            self.servers.sender_url,
            self.servers.receiver_url,
            transformed_in_place=_transformed_in_place(),
        )
        media = compare_media(self.servers.sender_media, self.servers.receiver_media)
        self.console.print(database_table(tables))
        self.console.print(media_line(media))
        return media.equal and all(table.equal for table in tables)


def _transformed_in_place() -> dict[str, tuple[str, ...]]:
    catalog = load_catalog()
    return {
        table: rules.rewritten_by_transform
        for table, rules in catalog.table.items()
        if rules.rewritten_by_transform
    }


def _since(started: float) -> str:
    return f"{time.monotonic() - started:.1f} s"
