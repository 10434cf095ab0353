"""Unfinished and failed work on some assets."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import dagster as dg

from ar_sync_pipeline.clock import from_epoch, not_ahead
from ar_sync_pipeline.operations.dagster_internals import (
    AUTO_RETRY_RUN_ID_TAG,
    IMPLICIT_ASSET_JOB_NAME,
    WILL_RETRY_TAG,
    BulkActionsFilter,
    BulkActionStatus,
    InstigatorStatus,
    PartitionBackfill,
)
from ar_sync_pipeline.operations.runs.run_assets import EVALUATED_ALONE, made_with, works_on

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_PLANS = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
_PLANS_CHECK = dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
# A step that is to be retried has not ended.
_BEGINS = {dg.DagsterEventType.STEP_START}
_FAILS = {dg.DagsterEventType.STEP_FAILURE}
_ENDS = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_SKIPPED, *_FAILS}
_MAKES = dg.DagsterEventType.ASSET_MATERIALIZATION
_OF_STEPS = {_PLANS, _PLANS_CHECK, _MAKES, *_BEGINS, *_ENDS}
_FINISHED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]
# The daemon retries a lost run some seconds after it detects the loss.
_RETRIED_WITHIN = timedelta(minutes=2)
# The daemon looks for backfills every half minute.
_BACKFILL_STARTS_WITHIN = timedelta(minutes=10)
_MANY = 100


def work_under_way(
    instance: dg.DagsterInstance, job_name: str, key: dg.AssetKey, now: datetime
) -> str | None:
    """Return a text about running or requested work on an asset, whoever started it; None if none.

    It covers runs of the job, runs that the UI or a backfill starts without a job, new backfills
    that have no run yet, and a run that will be retried because it lost its worker. What a run or
    backfill does besides, such as a complete that is uploaded for days, does not count.
    """
    # By name, because other pairs may have many unfinished runs.
    for name in (job_name, IMPLICIT_ASSET_JOB_NAME):
        unfinished = dg.RunsFilter(job_name=name, statuses=UNFINISHED)
        for run in instance.get_runs(unfinished, limit=_MANY):
            if run.job_name == job_name or (
                works_on(run, key) and not _is_through(instance, run, key)
            ):
                return f"Run {run.run_id}"
    for run in instance.get_runs(
        dg.RunsFilter(
            job_name=job_name,
            statuses=[dg.DagsterRunStatus.FAILURE],
            tags={WILL_RETRY_TAG: "true"},
            updated_after=now - _RETRIED_WITHIN,
            # Not by a clock that was ahead: it would be waited for until that time.
            updated_before=now + _RETRIED_WITHIN,
        )
    ):
        if AUTO_RETRY_RUN_ID_TAG not in run.tags:
            return f"The second attempt of run {run.run_id}"
    requested = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])
    for backfill in instance.get_backfills(filters=requested, limit=_MANY):
        selects = made_with(key, backfill.asset_selection or ()) or backfill.job_name == job_name
        if selects and _has_no_run_yet(instance, backfill, job_name, key, now):
            return f"Backfill {backfill.backfill_id}"
    return None


def _is_through(instance: dg.DagsterInstance, run: dg.DagsterRun, key: dg.AssetKey) -> bool:
    """Return whether a run by hand has made an asset, or cannot any more, and only does others.

    By the run's own log: another run may have made the asset again since.
    """
    events = instance.all_logs(run.run_id, of_type=_OF_STEPS)
    if any(
        one.asset_materialization and one.asset_materialization.asset_key == key for one in events
    ):
        return True
    ours = {one.step_key for one in events if _plans(one, key)}
    begun, ended, failed = (
        {one.step_key for one in events if one.dagster_event_type in types} & ours
        for types in (_BEGINS, _ENDS, _FAILS)
    )
    # Nothing is recorded about a step that is not executed because one before it has failed.
    return bool(ours) and (ours == ended or (bool(failed) and begun <= ended))


def _plans(entry: dg.EventLogEntry, key: dg.AssetKey) -> bool:
    """Return whether an event announces that a step will do the work that makes an asset."""
    event = entry.get_dagster_event()
    if entry.dagster_event_type is _PLANS_CHECK:
        check = event.asset_check_planned_data.asset_check_key
        return check.name not in EVALUATED_ALONE and made_with(key, [check.asset_key])
    planned = event.asset_key if entry.dagster_event_type is _PLANS else None
    return planned is not None and made_with(key, [planned])


def _has_no_run_yet(
    instance: dg.DagsterInstance,
    backfill: PartitionBackfill,
    job_name: str,
    key: dg.AssetKey,
    now: datetime,
) -> bool:
    """Return whether a backfill is so new that its first run for an asset is still to come."""
    age = abs(now - from_epoch(backfill.backfill_timestamp))
    runs = instance.get_runs(dg.RunsFilter.for_backfill(backfill.backfill_id), limit=_MANY)
    started = any(run.job_name == job_name or works_on(run, key) for run in runs)
    return age < _BACKFILL_STARTS_WITHIN and not started


def at_work_since(
    instance: dg.DagsterInstance, job_names: Collection[str], key: dg.AssetKey
) -> datetime | None:
    """Return when the oldest unfinished run of these jobs, or by hand of an asset, has started."""
    started = [dg.DagsterRunStatus.STARTED]
    times = [
        record.start_time
        for name in (*job_names, IMPLICIT_ASSET_JOB_NAME)
        for record in instance.get_run_records(
            dg.RunsFilter(job_name=name, statuses=started), limit=_MANY
        )
        if record.start_time is not None
        and (name in job_names or works_on(record.dagster_run, key))
    ]
    return from_epoch(min(times)) if times else None


def last_canceled(instance: dg.DagsterInstance, job_name: str, now: datetime) -> datetime | None:
    """Return when the newest canceled run of a job ended; not by a clock that was ahead."""
    canceled = dg.RunsFilter(job_name=job_name, statuses=[dg.DagsterRunStatus.CANCELED])
    ends = [record.end_time for record in instance.get_run_records(canceled, limit=1)]
    times = [from_epoch(end) for end in ends if end is not None]
    return max(not_ahead(times, now), default=None)


def last_end_by_hand(
    instance: dg.DagsterInstance, key: dg.AssetKey, now: datetime
) -> datetime | None:
    """Return when the newest run by hand of an asset ended; not by a clock that was ahead."""
    newest = _last_by_hand(instance, key, [*_FINISHED, dg.DagsterRunStatus.CANCELED])
    times = [from_epoch(one.end_time) for one in newest if one.end_time]
    return max(not_ahead(times, now), default=None)


def is_stopped(instance: dg.DagsterInstance, name: str, repository_id: str | None) -> bool:
    """Return whether a user has stopped the schedule or sensor of this name.

    Args:
        instance: Dagster instance.
        name: Name of the schedule or sensor.
        repository_id: Its repository; without it those of all code locations count.
    """
    if instance.schedule_storage is None:  # of a run in memory
        return False
    stopped = instance.all_instigator_state(
        repository_selector_id=repository_id, instigator_statuses={InstigatorStatus.STOPPED}
    )
    return any(state.instigator_name == name for state in stopped)


def failures_in_a_row(
    instance: dg.DagsterInstance, job_name: str, since: datetime | None, now: datetime
) -> list[datetime]:
    """Return when runs of a job failed, back to its last success or to `since`.

    Failures that a clock recorded that was ahead do not count.
    """
    finished = dg.RunsFilter(job_name=job_name, statuses=_FINISHED)
    found: list[datetime] = []
    if since is not None and not not_ahead([since], now):
        since = None
    for record in instance.get_run_records(finished, limit=_MANY):
        ended = from_epoch(record.end_time or 0)
        if record.dagster_run.is_success or (since is not None and ended <= since):
            break
        found.append(ended)
    return not_ahead(found, now)


def has_last_run_failed(
    instance: dg.DagsterInstance, job_names: Collection[str], key: dg.AssetKey
) -> bool:
    """Return whether the newest finished run of these jobs, or by hand of an asset, has failed."""
    newest = [
        record
        for name in (*job_names, IMPLICIT_ASSET_JOB_NAME)
        for record in _last_finished(instance, name, key)
    ]
    # Not by time, since the clock may have been ahead.
    last = max(newest, key=lambda record: record.storage_id, default=None)
    return last is not None and not last.dagster_run.is_success


def _last_finished(
    instance: dg.DagsterInstance, job_name: str, key: dg.AssetKey
) -> Sequence[dg.RunRecord]:
    """Return the newest finished run of a job; of runs by hand, which all pairs have, of a key."""
    if job_name == IMPLICIT_ASSET_JOB_NAME:
        return _last_by_hand(instance, key, _FINISHED)
    filters = dg.RunsFilter(job_name=job_name, statuses=_FINISHED)
    return instance.get_run_records(filters, limit=1)


def _last_by_hand(
    instance: dg.DagsterInstance, key: dg.AssetKey, statuses: Sequence[dg.DagsterRunStatus]
) -> Sequence[dg.RunRecord]:
    filters = dg.RunsFilter(job_name=IMPLICIT_ASSET_JOB_NAME, statuses=statuses)
    by_hand = instance.get_run_records(filters, limit=_MANY)
    return [one for one in by_hand if works_on(one.dagster_run, key)][:1]


def last_success(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    now: datetime,
    *,
    job_names: Collection[str] = (),
    tags: dict[str, str] | None = None,
) -> datetime | None:
    """Return when an asset was last materialized, or such a run succeeded, if later.

    The time is in the future only if a clock that was ahead recorded all of them.

    Args:
        instance: Dagster instance.
        key: Asset.
        now: Current time.
        job_names: Runs of these jobs count.
        tags: Runs with all of these tags count, too; without any no other run counts.
    """
    succeeded = [dg.DagsterRunStatus.SUCCESS]
    filters = [dg.RunsFilter(job_name=name, statuses=succeeded) for name in job_names]
    # A filter without tags would find the runs of all sides and pairs.
    filters += [dg.RunsFilter(tags=tags, statuses=succeeded)] if tags else []
    stamps = [record.timestamp for record in instance.fetch_materializations(key, limit=1).records]
    for one in filters:
        stamps += [r.end_time for r in instance.get_run_records(one, limit=1) if r.end_time]
    times = [from_epoch(stamp) for stamp in stamps]
    return max(not_ahead(times, now) or times, default=None)
