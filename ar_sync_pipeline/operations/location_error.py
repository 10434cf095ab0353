"""Errors for operators that no step reports, shown without a traceback.

One keeps a code location from loading, the other one a sensor or schedule from evaluating.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from dagster_shared.error import SerializableErrorInfo

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.operations.dagster_internals import DagsterUserCodeProcessError


class UntracedError(DagsterUserCodeProcessError):
    """An error for operators, as a message for whoever shows it.

    Dagster shows an error of another process as that process describes it, and adds a traceback to
    every other error.
    """

    def __init__(self, error: ArSyncError) -> None:
        described = SerializableErrorInfo(str(error), [], type(error).__name__)
        super().__init__(  # type: ignore[no-untyped-call]  # Dagster's constructor
            str(error), user_code_process_error_infos=[described]
        )


class LocationError(UntracedError, click.ClickException):
    """A code location that cannot load, as a message for whoever shows it.

    A code server that is started by a command ends with its error, and click prints those of its
    own class alone.
    """


@contextmanager
def tick_errors() -> Iterator[None]:
    """Convert an error of the engine in a tick."""
    try:
        yield
    except ArSyncError as error:
        raise UntracedError(error) from None


@contextmanager
def location_errors() -> Iterator[None]:
    """Convert an error of the engine while a code location loads."""
    try:
        yield
    except ArSyncError as error:
        raise LocationError(error) from None
