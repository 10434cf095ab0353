"""Deletion of old runs from a Dagster instance, with all their data.

``DagsterInstance.delete_run`` does not delete the captured output of the steps, the evaluations of
asset checks, and with SQLite the file of the run's events. Dagster's own ``retention`` covers only
ticks.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.operations.check_history import delete_old_evaluations, runs_with_findings
from ar_sync_pipeline.operations.dagster_internals import (
    AssetCheckExecutionsTable,
    SqlEventLogStorage,
    SqliteEventLogStorage,
)
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.operations.runs.runless_events import delete_old_runless_events

_BATCH = 100
_LONGEST = timedelta(minutes=20)
_RUN_FILE = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.db(?:-wal|-shm|-journal)?")
_BAD_ENDS = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass(frozen=True)
class Lifetimes:
    """How long finished runs are kept.

    Attributes:
        good: Lifetime of runs that succeeded.
        bad: Lifetime of runs that failed or were canceled; longer, to find out why.
    """

    good: timedelta
    bad: timedelta


@dataclass(frozen=True)
class Purged:
    """Result of a purge.

    Attributes:
        runs: Number of deleted runs.
        files: Number of deleted event files.
        unfinished: Whether it stopped at its time limit; the next purge continues.
    """

    runs: int
    files: int
    unfinished: bool


def purge_runs(
    instance: dg.DagsterInstance,
    lifetimes: Lifetimes,
    clock: Clock,
    is_own: Callable[[dg.DagsterRun], bool],
    names: PairNames,
) -> Purged:
    """Delete finished runs that are older than their lifetime, oldest first, for a bounded time.

    Evaluations by sensors are kept as long as failed runs, their other events as long as runs.
    A run that found what no later evaluation replaces is kept: the UI would not show it any more.

    Args:
        instance: Dagster instance.
        lifetimes: How long finished runs are kept.
        clock: Returns the current time.
        is_own: Whether this host deletes a run: the output of its steps is stored here.
        names: Names of the pair whose checks and assets these are.
    """
    started = clock()
    delete_old_evaluations(instance, started - lifetimes.bad, names)
    delete_old_runless_events(instance, started - lifetimes.good, names)
    deleted = 0
    unfinished = False
    for batch in _old_runs(instance, lifetimes, started):
        own = [run.run_id for run in batch if is_own(run)]
        kept = runs_with_findings(instance, own)
        own = [run_id for run_id in own if run_id not in kept]
        for run_id in own:
            instance.compute_log_manager.delete_logs(prefix=[run_id])
            instance.delete_run(run_id)
        _delete_check_evaluations(instance, own)
        deleted += len(own)
        if clock() - started > _LONGEST:
            unfinished = True
            break
    return Purged(deleted, _delete_files_without_run(instance), unfinished)


def _old_runs(
    instance: dg.DagsterInstance, lifetimes: Lifetimes, now: datetime
) -> Iterator[list[dg.DagsterRun]]:
    for statuses, lifetime in (
        ([dg.DagsterRunStatus.SUCCESS], lifetimes.good),
        (_BAD_ENDS, lifetimes.bad),
    ):
        filters = dg.RunsFilter(statuses=statuses, updated_before=now - lifetime)
        runs = instance.get_runs(filters, limit=_BATCH, ascending=True)
        while runs:
            # Read the next page before deleting: a deleted run cannot be a cursor.
            next_page = instance.get_runs(
                filters, limit=_BATCH, cursor=runs[-1].run_id, ascending=True
            )
            yield list(runs)
            runs = next_page


def _delete_check_evaluations(instance: dg.DagsterInstance, run_ids: list[str]) -> None:
    storage = instance.event_log_storage
    if run_ids and isinstance(storage, SqlEventLogStorage):
        table = AssetCheckExecutionsTable
        with storage.index_connection() as connection:
            connection.execute(table.delete().where(table.c.run_id.in_(run_ids)))


def _delete_files_without_run(instance: dg.DagsterInstance) -> int:
    """Remove the event files of deleted runs, including those of an interrupted purge."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return 0
    folder = Path(storage.path_for_shard("any")).parent
    files = [(path, _RUN_FILE.fullmatch(path.name)) for path in folder.iterdir()]
    found = [(path, name[1]) for path, name in files if name is not None]
    existing = _existing({run_id for _, run_id in found}, instance)
    deleted = [path for path, run_id in found if run_id not in existing]
    for path in deleted:
        path.unlink(missing_ok=True)
    return len(deleted)


def _existing(run_ids: set[str], instance: dg.DagsterInstance) -> set[str]:
    known: set[str] = set()
    ordered = sorted(run_ids)
    for start in range(0, len(ordered), _BATCH):
        part = dg.RunsFilter(run_ids=ordered[start : start + _BATCH])
        known |= {run.run_id for run in instance.get_runs(part)}
    return known
