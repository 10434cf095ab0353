"""Whether Dagster will try a failed run again by itself: then there is nothing to tell yet."""

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import (
    AUTO_RETRY_RUN_ID_TAG,
    RUN_FAILURE_REASON_TAG,
    WILL_RETRY_TAG,
    RunFailureReason,
    auto_reexecution_should_retry_run,
)


def will_be_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Of a run that has failed, or one of whose steps has.

    The tag is written behind the event that ends a run, so where it is not there yet the question
    is put as Dagster itself puts it.
    """
    if (tag := run.tags.get(WILL_RETRY_TAG)) is not None:
        return tag == "true"
    if not instance.run_retries_enabled:
        return False
    failed = run.with_status(dg.DagsterRunStatus.FAILURE)
    reason = RunFailureReason(run.tags.get(RUN_FAILURE_REASON_TAG, "STEP_FAILURE"))
    return bool(auto_reexecution_should_retry_run(instance, failed, reason))


def retry_is_under_way(run: dg.DagsterRun) -> bool:
    """Whether the run that tries again exists; what becomes of it is its own news."""
    return AUTO_RETRY_RUN_ID_TAG in run.tags
