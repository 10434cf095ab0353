"""Where the engine's errors become what Dagster and its operators understand."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from ar_sync_pipeline.errors import ArSyncError, TransientError
from ar_sync_pipeline.operations.check_evaluation import ERROR

RETRIES = 3
RETRY_DELAY_SECONDS = 30


@contextmanager
def operator_errors(
    *, retry_delay_seconds: float | None = None, not_again: tuple[type[TransientError], ...] = ()
) -> Iterator[None]:
    """Turn an engine's error into a failed or retried step that says one sentence.

    A transient error is tried again, a few times; any other ends the step at once. No traceback:
    it would hide the sentence, and the cause is not in this code.

    Args:
        retry_delay_seconds: between two attempts of the step, half a minute by default.
        not_again: transient errors that the engine has tried again long enough already.
    """
    try:
        yield
    except TransientError as error:
        failure = _failure(error)
        if isinstance(error, not_again):
            raise failure from None
        delay = RETRY_DELAY_SECONDS if retry_delay_seconds is None else retry_delay_seconds
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=delay) from failure
    except ArSyncError as error:
        raise _failure(error) from None


def _failure(error: ArSyncError) -> dg.Failure:
    return dg.Failure(
        description=str(error),
        metadata={
            "problem": error.problem,
            "remedy": error.remedy,
            "policy": str(error.policy),
            ERROR: error.code,
        },
        allow_retries=False,
    )
