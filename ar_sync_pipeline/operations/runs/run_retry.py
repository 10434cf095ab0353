"""Whether Dagster will retry a failed run: if so, there is nothing to report yet."""

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import (
    AUTO_RETRY_RUN_ID_TAG,
    RUN_FAILURE_REASON_TAG,
    WILL_RETRY_TAG,
    RunFailureReason,
    auto_reexecution_should_retry_run,
)
from ar_sync_pipeline.operations.runs.own_process import is_launched


def will_be_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether Dagster will retry a run that failed, or one of whose steps failed.

    Dagster writes the tag after the event that ends a run, also to a run that its daemon cannot
    launch again. If the tag is missing, this calls the function with which Dagster decides.
    """
    if not is_launched(run):
        return False
    if (tag := run.tags.get(WILL_RETRY_TAG)) is not None:
        return tag == "true"
    if not instance.run_retries_enabled:
        return False
    failed = run.with_status(dg.DagsterRunStatus.FAILURE)
    reason = RunFailureReason(run.tags.get(RUN_FAILURE_REASON_TAG, "STEP_FAILURE"))
    return bool(auto_reexecution_should_retry_run(instance, failed, reason))


def retry_is_under_way(run: dg.DagsterRun) -> bool:
    """Return whether the retry exists as a run; its result is reported separately."""
    return AUTO_RETRY_RUN_ID_TAG in run.tags
