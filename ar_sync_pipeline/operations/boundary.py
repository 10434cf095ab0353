"""Where the engine's errors become what Dagster and its operators understand."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from ar_sync_pipeline.errors import ArSyncError, TransientError

RETRIES = 3
RETRY_DELAY_SECONDS = 30


@contextmanager
def operator_errors() -> Iterator[None]:
    """Turn an engine's error into a failed or retried step that says one sentence.

    A transient error is tried again, a few times with growing pauses; any other ends the step at
    once. No traceback: it would hide the sentence, and the cause is not in this code.
    """
    try:
        yield
    except TransientError as error:
        failure = _failure(error)
        raise dg.RetryRequested(
            max_retries=RETRIES, seconds_to_wait=RETRY_DELAY_SECONDS
        ) from failure
    except ArSyncError as error:
        raise _failure(error) from None


def _failure(error: ArSyncError) -> dg.Failure:
    return dg.Failure(
        description=str(error),
        metadata={
            "problem": error.problem,
            "remedy": error.remedy,
            "policy": str(error.policy),
            "error": type(error).__name__,
        },
        allow_retries=False,
    )
