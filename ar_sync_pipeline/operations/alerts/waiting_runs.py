"""Runs of a side that wait too long to start; no event reports them."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import dagster as dg

from ar_sync_pipeline.alerts.incidents import Problem, Success
from ar_sync_pipeline.operations.alerts.alert_scope import AlertScope
from ar_sync_pipeline.operations.alerts.run_findings import INTERRUPTED_PAGE, run_name
from ar_sync_pipeline.operations.dagster_internals import IMPLICIT_ASSET_JOB_NAME
from ar_sync_pipeline.operations.runs.longer_runs import max_runtime_seconds

TOO_LONG = timedelta(hours=1)
# A run may wait for another run of its pool until the monitor ends that one: after six hours, or
# after the time in its tag.
TOO_LONG_IN_POOL = timedelta(hours=7)
# A limit in a tag may be larger than any span of time.
_LONGEST = timedelta(days=365)
_MINUTE = timedelta(minutes=1)
# A pair's runs are chosen afterwards, so that the limit is for all pairs of the instance.
_MOST = 1000
_NOT_STARTED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
]
_AT_WORK = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def waiting_runs(
    instance: dg.DagsterInstance, scope: AlertScope, now: datetime
) -> Iterator[Problem | Success]:
    """Yield runs that wait in the queue, or that were launched and never started.

    A run that the run monitor gives up ends with an event and is found by that. A job of which no
    run waits any more is a success: whether its runs succeed is another question, and nobody may
    start another run by hand.
    """
    waiting = _covered(instance, scope, _NOT_STARTED, now - TOO_LONG)
    jobs = {*scope.jobs, IMPLICIT_ASSET_JOB_NAME} - {run.job_name for run in waiting}
    yield from (Success(_source(job), now) for job in sorted(jobs))
    if not waiting:
        return
    too_long = _longest_wait(_covered(instance, scope, _AT_WORK))
    for run in _covered(instance, scope, _NOT_STARTED, now - too_long):
        yield Problem(
            cause=_source(run.job_name),
            source=_source(run.job_name),
            occurrence=run.run_id,
            at=now,
            title=run_name(run),
            what=run_name(run),
            sentence=f"the run has waited for more than {too_long // _MINUTE} minutes to start",
            remedy="look at the queued runs in Dagster: a run of the same pool may hold it, or"
            " the daemon launches nothing",
            run_id=run.run_id,
            page=f"runs/{run.run_id}",
            runbook=scope.page(INTERRUPTED_PAGE),
        )


def _source(job: str) -> str:
    return f"waiting:{job}"


def _longest_wait(at_work: Sequence[dg.DagsterRun]) -> timedelta:
    """Return how long a run may wait for these runs: until the monitor ends the longest one."""
    if not at_work:
        return TOO_LONG
    limit = max(max_runtime_seconds(run) for run in at_work)
    longest = timedelta(seconds=min(limit, _LONGEST.total_seconds()))
    return max(TOO_LONG_IN_POOL, longest + TOO_LONG)


def _covered(
    instance: dg.DagsterInstance,
    scope: AlertScope,
    statuses: Sequence[dg.DagsterRunStatus],
    created_before: datetime | None = None,
) -> list[dg.DagsterRun]:
    filters = dg.RunsFilter(statuses=statuses, created_before=created_before)
    return [run for run in instance.get_runs(filters, limit=_MOST) if scope.covers(run)]
