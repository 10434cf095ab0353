"""Runs of a side that ended since the last tick, each one once, in a bounded number."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, get_args

import dagster as dg
from pydantic import BaseModel, Field

from ar_sync_pipeline.operations.alerts.alert_scope import AlertScope
from ar_sync_pipeline.operations.runs.run_retry import retry_is_under_way, will_be_retried

_End = Literal[
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_CANCELED,
]
_ENDS: tuple[_End, ...] = get_args(_End)
_EVENTS = 100
_MOST_WAITING = 50
# The daemon retries a run within seconds. A run whose job or backfill is gone keeps the tag that
# promises a retry, and gets none.
_RETRIED_WITHIN = timedelta(minutes=10)


class RunsSeen(BaseModel):
    """How far the event log has been read.

    Attributes:
        low: Id of an event up to which no new event can appear.
        done: Ids of later events that were processed. They are read again, because a transaction
            with a lower id may be committed later.
        waiting: Runs that are to be retried and have not been yet.
        last_run: Id of the run of the newest event that was processed.
        last_at: When that event was recorded, in seconds since the epoch.
    """

    low: int | None = None
    done: list[int] = Field(default_factory=list)
    waiting: list[str] = Field(default_factory=list)
    last_run: str | None = None
    last_at: float | None = None


def finished_runs(
    instance: dg.DagsterInstance,
    scope: AlertScope,
    seen: RunsSeen,
    since: datetime,
    now: datetime,
) -> tuple[list[tuple[dg.DagsterRun, dg.EventLogEntry]], RunsSeen]:
    """Return runs with the events that ended them, oldest first, and how far the log was read.

    Args:
        instance: Dagster instance.
        scope: Definitions of the side.
        seen: How far the log was read before.
        since: Where the first tick begins.
        now: Current time, by which a retry is too late.
    """
    seen = _of_this_log(instance, seen)
    records = _ends(instance, seen, since)
    runs = _runs(instance, [record.run_id for record in records] + seen.waiting)
    waiting: list[str] = []
    found: list[tuple[dg.DagsterRun, dg.EventLogEntry]] = []
    for record in records:
        run = runs.get(record.run_id)
        if run is None or not scope.covers(run):
            continue
        if run.status is dg.DagsterRunStatus.FAILURE and will_be_retried(instance, run):
            waiting.append(run.run_id)
        else:
            found.append((run, record.event_log_entry))
    for run_id in seen.waiting:
        run = runs.get(run_id)
        if run is None or retry_is_under_way(run):
            continue
        ends = _failure(instance, run_id)
        if will_be_retried(instance, run) and all(_is_recent(end, now) for end in ends):
            waiting.append(run_id)
        else:
            found += [(run, end) for end in ends]
    ids = [record.storage_id for record in records]
    low = max(seen.done, default=seen.low)
    return found, RunsSeen(
        low=low if low is not None else min(ids, default=None),
        done=ids,
        waiting=waiting[-_MOST_WAITING:],
        last_run=records[-1].run_id if records else seen.last_run,
        last_at=records[-1].timestamp if records else seen.last_at,
    )


def _of_this_log(instance: dg.DagsterInstance, seen: RunsSeen) -> RunsSeen:
    """Return how far the log was read; only until when, if later events may have the same ids.

    SQLite gives the ids of the newest events again if these were deleted: with their run, or when
    the log was emptied or restored. What is read again is not told again, and a run that waits for
    its retry has ended in the hour that is read at least.
    """
    newest = instance.event_log_storage.get_maximum_record_id() or 0
    is_emptied = seen.low is not None and newest < seen.low
    is_deleted = seen.last_run is not None and not instance.has_run(seen.last_run)
    return RunsSeen(last_at=seen.last_at) if is_emptied or is_deleted else seen


def _ends(instance: dg.DagsterInstance, seen: RunsSeen, since: datetime) -> list[dg.EventLogRecord]:
    found: list[dg.EventLogRecord] = []
    complete_up_to: list[int] = []
    begin = min(since.timestamp(), seen.last_at or math.inf)
    for kind in _ENDS:
        which = dg.RunStatusChangeRecordsFilter(
            kind,
            after_storage_id=seen.low,
            after_timestamp=begin if seen.low is None else None,
        )
        page = instance.fetch_run_status_changes(
            which, limit=_EVENTS + len(seen.done), ascending=True
        ).records
        found += page
        if len(page) == _EVENTS + len(seen.done):
            complete_up_to.append(page[-1].storage_id)
    # A full page of one kind hides its later events, and the order of all kinds matters.
    limit = min(complete_up_to, default=None)
    new = [
        one
        for one in sorted(found, key=lambda one: one.storage_id)
        if one.storage_id not in seen.done and (limit is None or one.storage_id <= limit)
    ]
    return new[:_EVENTS]


def _runs(instance: dg.DagsterInstance, run_ids: list[str]) -> dict[str, dg.DagsterRun]:
    if not run_ids:
        return {}
    return {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=run_ids))}


def _failure(instance: dg.DagsterInstance, run_id: str) -> Sequence[dg.EventLogEntry]:
    return instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)[-1:]


def _is_recent(end: dg.EventLogEntry, now: datetime) -> bool:
    """Return whether a retry may still come; not by a clock that was ahead."""
    return abs(now.timestamp() - end.timestamp) < _RETRIED_WITHIN.total_seconds()
