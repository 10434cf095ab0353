"""Which work on some assets is under way, and which has failed."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import (
    IMPLICIT_ASSET_JOB_NAME,
    BulkActionsFilter,
    BulkActionStatus,
)

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# The daemon makes a lost run again some seconds after it was noticed.
_MADE_AGAIN_WITHIN = timedelta(minutes=2)
_MANY = 100


def work_under_way(
    instance: dg.DagsterInstance, job_name: str, key: dg.AssetKey, now: datetime
) -> str | None:
    """What is at work on an asset, or about to be, whoever asked for it; in words, None if nothing.

    A job's own runs, those that the UI or a backfill starts without a job, a backfill that has no
    run yet, and a run that is to be made again because it lost its worker.
    """
    # By name, since the unfinished runs of other pairs may be many.
    for name in (job_name, IMPLICIT_ASSET_JOB_NAME):
        unfinished = dg.RunsFilter(job_name=name, statuses=UNFINISHED)
        for run in instance.get_runs(unfinished, limit=_MANY):
            if run.job_name == job_name or key in (run.asset_selection or ()):
                return f"Run {run.run_id}"
    for run in instance.get_runs(
        dg.RunsFilter(
            job_name=job_name,
            statuses=[dg.DagsterRunStatus.FAILURE],
            tags={"dagster/will_retry": "true"},
            updated_after=now - _MADE_AGAIN_WITHIN,
        )
    ):
        if "dagster/auto_retry_run_id" not in run.tags:
            return f"The second attempt of run {run.run_id}"
    requested = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])
    for backfill in instance.get_backfills(filters=requested, limit=_MANY):
        if key in (backfill.asset_selection or ()) or backfill.job_name == job_name:
            return f"Backfill {backfill.backfill_id}"
    return None


def failures_in_a_row(
    instance: dg.DagsterInstance, job_name: str, since: datetime | None
) -> list[datetime]:
    """When runs of a job failed, back to its last success, or to another one at `since`."""
    finished = dg.RunsFilter(
        job_name=job_name, statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]
    )
    found: list[datetime] = []
    for record in instance.get_run_records(finished, limit=_MANY):
        ended = datetime.fromtimestamp(record.end_time or 0, UTC)
        if record.dagster_run.is_success or (since is not None and ended <= since):
            break
        found.append(ended)
    return found


def last_success(
    instance: dg.DagsterInstance, key: dg.AssetKey, tags: dict[str, str]
) -> datetime | None:
    """When an asset was materialized last, or a run with some tags succeeded, if that is later."""
    times = [record.timestamp for record in instance.fetch_materializations(key, limit=1).records]
    succeeded = dg.RunsFilter(tags=tags, statuses=[dg.DagsterRunStatus.SUCCESS])
    times += [r.end_time for r in instance.get_run_records(succeeded, limit=1) if r.end_time]
    return datetime.fromtimestamp(max(times), UTC) if times else None
