"""Runs of a side that wait too long to start, of which no event tells."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg

from ar_sync_pipeline.alerts.incidents import Problem
from ar_sync_pipeline.operations.alerts.alert_scope import AlertScope
from ar_sync_pipeline.operations.alerts.run_findings import CUT_SHORT_PAGE, run_name, run_source
from ar_sync_pipeline.package_files import runbook_page

TOO_LONG = timedelta(hours=1)
# Behind a run of its pool a run may wait as long as that one may take, which the monitor ends.
TOO_LONG_BEHIND_ANOTHER = timedelta(hours=7)
_MOST = 20
_NOT_STARTED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
]
_AT_WORK = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def waiting_runs(
    instance: dg.DagsterInstance, scope: AlertScope, now: datetime
) -> Iterator[Problem]:
    """Those in the queue, and those that were launched and never came up.

    What the run monitor gives up ends with an event and is found by that.
    """
    at_work = instance.get_runs(dg.RunsFilter(statuses=_AT_WORK), limit=_MOST)
    too_long = TOO_LONG_BEHIND_ANOTHER if any(map(scope.covers, at_work)) else TOO_LONG
    filters = dg.RunsFilter(statuses=_NOT_STARTED, created_before=now - too_long)
    for run in instance.get_runs(filters, limit=_MOST):
        if scope.covers(run):
            yield Problem(
                cause=run_source(run),
                source=run_source(run),
                occurrence=run.run_id,
                at=now,
                title=run_name(run),
                what=run_name(run),
                sentence=f"the run has waited for more than {too_long.seconds // 60} minutes to"
                " start",
                remedy="look at the queued runs in Dagster: a run of the same pool may hold it, or"
                " the daemon launches nothing",
                run_id=run.run_id,
                page=f"runs/{run.run_id}",
                runbook=str(runbook_page(CUT_SHORT_PAGE)),
            )
