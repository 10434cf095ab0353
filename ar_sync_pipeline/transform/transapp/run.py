"""Runs the built-in rules for all untransformed rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.postgres.connect import HIDDEN_ROWS, Connection, connect
from ar_sync_pipeline.postgres.server_message import shown
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.transform.errors import (
    TransformInterruptedError,
    TransformNotAllowedError,
    TransformRefusedError,
)
from ar_sync_pipeline.transform.rejected_rows import (
    Rejection,
    Severity,
    forget_deleted_rows,
    prepare_rejected_rows,
    record_rejections,
)
from ar_sync_pipeline.transform.transapp import receiver_tables as tables
from ar_sync_pipeline.transform.transapp.batches import Progress, run_stage
from ar_sync_pipeline.transform.transapp.events import BUS_EVENTS, STOP_EVENTS, event_stage
from ar_sync_pipeline.transform.transapp.plates import bus_stage
from ar_sync_pipeline.transform.transapp.report import ZONE, TransformReport
from ar_sync_pipeline.transform.transapp.reports import report_stage
from ar_sync_pipeline.transform.transapp.stage import StepTimer, too_slow
from ar_sync_pipeline.transform.transapp.stop_points import stop_stage
from ar_sync_pipeline.transform.transapp.zones import Zones, read_zones
from ar_sync_pipeline.transform.transform_lock import lock_out_other_transforms

DEFAULT_BATCH_ROWS: Final = 20_000
_SESSION: Final = {
    "work_mem": "64MB",
    # The rows of a batch are found by index: reading the whole table for each batch would take time
    # that grows with the square of the rows.
    "random_page_cost": "1.1",
    # A wait for a load that locks the rows is limited, too.
    "lock_timeout": "5min",
}
_SCHEMA_FIRST: Final = """
SELECT set_config('search_path', quote_ident(%s) || ', ' || current_setting('search_path'), false)
"""
_LONGEST_SECONDS: Final = 7 * 24 * 3600


def run_transapp(
    connection_url: str,
    *,
    clock: Clock,
    schema: str = "public",
    batch_rows: int = DEFAULT_BATCH_ROWS,
    timeout_seconds: float = math.inf,
    stopwatch: Callable[[], float] = time.perf_counter,
) -> TransformReport:
    """Compute the seven results for every row whose ``transformed`` is false or NULL.

    Each batch is one transaction: a reader sees a row with all results or none. The next run, also
    after a failure, handles the remaining rows; a run without such rows changes nothing.

    Args:
        connection_url: Libpq URL or keyword string of the receiver.
        clock: Clock that returns the current time, aware; for rejected rows.
        schema: Schema of the tables; one that is not there is looked for by the search path.
        batch_rows: Upper limit of a batch, which limits memory.
        timeout_seconds: Time after which no batch begins and no report is read; also the limit of
            each statement.
        stopwatch: Function that returns seconds, for the report.

    Raises:
        TransformTablesMissingError: The database lacks TranSapp's tables or columns.
        TransformNotAllowedError: The role may not read or write them.
        TransformRunningError: Another transform runs.
        DatabaseUnreachableError: The server cannot be reached, or the connection broke.
        DatabaseRefusedError: The server refused the login, a policy hides rows from the role, or a
            pooler does not assign whole sessions.
        TransformInterruptedError: Another session holds a lock for too long.
        TransformRefusedError: The database refuses rows for a reason that is not in the rows.
        TransformTooSlowError: The time limit was reached; finished batches are kept.
    """
    progress = Progress(clock, StepTimer(stopwatch, deadline=stopwatch() + timeout_seconds))
    with _receiver(connection_url, schema, timeout_seconds, progress.timer) as connection:
        tables.require_tables(connection)
        lock_out_other_transforms(connection)
        prepare_rejected_rows(connection)
        zones = read_zones(connection)
        _record_unreadable_zones(connection, zones, progress)
        _run_stages(connection, zones, progress, batch_rows)
        forget_deleted_rows(connection, tables.HANDLED)
    return TransformReport(
        handled=dict(progress.handled),
        rows=dict(progress.rows),
        rejected=dict(progress.rejected),
        seconds=dict(progress.timer.seconds),
        batches=progress.batches,
    )


def _run_stages(connection: Connection, zones: Zones, progress: Progress, batch_rows: int) -> None:
    """Handle the rows of all stages; a table whose rows are refused does not stop the others."""
    refused = []
    # Stops before the events that refer to them.
    for stage in (
        stop_stage(connection),
        bus_stage(),
        event_stage(STOP_EVENTS, zones),
        event_stage(BUS_EVENTS, zones),
        report_stage(zones),
    ):
        try:
            with _own_errors(progress.timer):
                run_stage(connection, stage, progress, batch_rows)
        except TransformRefusedError as error:
            refused.append(error)
    if len(refused) > 1:
        raise TransformRefusedError(
            "; ".join(error.problem for error in refused),
            remedy="; ".join(dict.fromkeys(error.remedy for error in refused)),
        ) from refused[0]
    if refused:
        raise refused[0]


@contextmanager
def _receiver(
    url: str, schema: str, timeout_seconds: float, timer: StepTimer
) -> Iterator[Connection]:
    """Open a connection for the rules, whose statements are limited to the rest of the time."""
    limit = {"statement_timeout": str(math.ceil(min(timeout_seconds, _LONGEST_SECONDS) * 1000))}
    with (
        connect(url, application="transform") as connection,
        _own_errors(timer),
        # The rules name the tables as the application does, without a schema.
        default_search_path(connection),
    ):
        connection.execute(_SCHEMA_FIRST, (schema,))
        for name, value in (_SESSION | limit).items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        yield connection


@contextmanager
def _own_errors(timer: StepTimer) -> Iterator[None]:
    """Convert the failures of statements for which the transform knows a better remedy."""
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        if timer.stopwatch() < timer.deadline:
            raise  # an administrator has canceled it
        raise too_slow(f"in a statement ({shown(error)})") from error
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise TransformInterruptedError(
            f"another session locks rows or tables that the transform needs ({shown(error)})",
            remedy="it is tried again and continues where it stopped",
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        if HIDDEN_ROWS in shown(error):
            raise
        raise TransformNotAllowedError(
            f"the receiver's role may not do what the transform needs ({shown(error)})",
            remedy="let it read and update the AndroidRequests tables, write reportinfo, and "
            "create the schema ar_sync",
        ) from error
    except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction):
        raise
    except psycopg.Error as error:
        raise TransformRefusedError(
            "the receiver's database refuses a statement of the transform "
            f"({shown(error)}, SQLSTATE {error.sqlstate})",
            remedy="check the triggers and columns of the AndroidRequests tables there",
        ) from error


def _record_unreadable_zones(connection: Connection, zones: Zones, progress: Progress) -> None:
    rejections = [
        Rejection(str(key), ZONE, Severity.ERROR, "the zone's geometry cannot be read")
        for key in zones.unreadable
    ]
    keys = [*zones.ids.tolist(), *zones.unreadable]
    with connection.transaction():
        record_rejections(connection, tables.ZONE, keys, rejections, now=progress.clock())
    progress.rejected.update((one.step, one.severity, one.reason) for one in rejections)
