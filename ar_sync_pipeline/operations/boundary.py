"""Conversion of the engine's errors to failures and retries of Dagster steps."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg

from ar_sync_pipeline.disk_errors import disk_error
from ar_sync_pipeline.errors import ArSyncError, TransientError
from ar_sync_pipeline.operations.check_evaluation import ERROR, OF_CONNECTION
from ar_sync_pipeline.operations.runs.watched_executor import refuse_spread_steps
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError, StatementFailedError

RETRIES = 3
RETRY_DELAY_SECONDS = 30


@contextmanager
def operator_errors(
    *, pauses: int = 1, not_again: tuple[type[TransientError], ...] = ()
) -> Iterator[None]:
    """Convert an error of the engine to a failed or retried step with a short message.

    A step with a transient error is retried a few times; any other error fails the step at once.
    The failure has no traceback: it would hide the message, and the cause is not in this code.

    Args:
        pauses: Number of half minutes between two attempts of the step.
        not_again: Transient errors that the engine has already retried long enough.
    """
    try:
        refuse_spread_steps()
        yield
    except TransientError as error:
        failure = _failure(error)
        if isinstance(error, not_again):
            raise failure from None
        delay = RETRY_DELAY_SECONDS * pauses
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=delay) from failure
    except ArSyncError as error:
        raise _failure(error) from None
    except psycopg.Error as error:
        raise _failure(StatementFailedError(error)) from None
    except (OSError, sqlite3.Error) as error:
        found = disk_error(error)
        if found is None:
            raise
        raise _failure(found) from None


def _failure(error: ArSyncError) -> dg.Failure:
    return dg.Failure(
        description=str(error),
        metadata={
            "problem": error.problem,
            "remedy": error.remedy,
            "policy": str(error.policy),
            ERROR: error.code,
            **({OF_CONNECTION: True} if _is_of_connection(error) else {}),
        },
        allow_retries=False,
    )


def _is_of_connection(error: ArSyncError) -> bool:
    return isinstance(error, DatabaseRefusedError) and error.is_of_connection
