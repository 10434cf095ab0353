"""Handles the rows of a stage in batches of limited size, each in one transaction.

If the database refuses a batch, the batch is halved until the bad row is alone. That row is
recorded as rejected, and the others are handled (old system, D27 and D28).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from ar_sync_pipeline.transform.errors import TransformRefusedError, TransformTooSlowError
from ar_sync_pipeline.transform.rejected_rows import Rejection, Severity, record_rejections
from ar_sync_pipeline.transform.transapp.frames import id_array
from ar_sync_pipeline.transform.transapp.stage import BatchOutcome, Stage, StepTimer

Connection = psycopg.Connection[tuple[Any, ...]]

MAX_REFUSED_ROWS: Final = 100
"""If the database refuses more rows in one run, the cause is not in the rows."""

# Errors that a row can cause; a row never causes a missing privilege or a lost connection.
_CAUSED_BY_A_ROW = (
    psycopg.errors.RaiseException,
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.InternalError,
)


@dataclass
class Progress:
    """Progress of a run.

    Attributes:
        clock: Clock that returns the current time, aware.
        timer: Timer of the steps.
        deadline: Time of the stopwatch after which no batch begins.
        handled: Number of handled rows by table.
        rows: Number of rows by result.
        rejected: Number of rows by step, severity and reason.
        batches: Number of committed transactions.
        refused: Number of rows that the database refused.
    """

    clock: Callable[[], datetime]
    timer: StepTimer
    deadline: float = math.inf
    handled: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    rejected: Counter[tuple[str, Severity, str]] = field(default_factory=Counter)
    batches: int = 0
    refused: int = 0


def run_stage(connection: Connection, stage: Stage, progress: Progress, batch_rows: int) -> None:
    """Handle all pending rows of a stage.

    Args:
        connection: Connection in autocommit mode.
        stage: Stage with the rows and their handler.
        progress: Progress, updated after each batch.
        batch_rows: Upper limit of a batch.

    Raises:
        TransformRefusedError: The database refused more than ``MAX_REFUSED_ROWS`` rows.
        TransformTooSlowError: The deadline has passed and rows are left.
    """
    rows = min(batch_rows, stage.most_rows or batch_rows)
    for ids in _pending(connection, stage, progress.timer, rows):
        if progress.timer.stopwatch() > progress.deadline:
            raise too_slow(f"after {sum(progress.handled.values()):,} rows")
        _handle(connection, stage, ids, progress)


def too_slow(when: str) -> TransformTooSlowError:
    """Return the error of a run that reached its time limit."""
    return TransformTooSlowError(
        f"the transform ran longer than its time limit and was stopped {when}",
        remedy="finished batches are kept and the next run continues from there; if it happens "
        "again, check for locks or a missing index, or raise AR_SYNC_TRANSFORM_TIMEOUT",
    )


def _pending(
    connection: Connection, stage: Stage, timer: StepTimer, batch_rows: int
) -> Iterator[list[int]]:
    """Yield the ids of one scan, whose cursor the server keeps across transactions."""
    with timer.step("find rows"):
        cursor = psycopg.ServerCursor(connection, "ar_sync_pending", withhold=True)
        cursor.execute(stage.pending)
    with cursor:
        while rows := cursor.fetchmany(batch_rows):
            yield [row[0] for row in rows]


def _handle(connection: Connection, stage: Stage, ids: list[int], progress: Progress) -> None:
    try:
        with connection.transaction():
            locked = _lock(connection, stage.table, ids)
            outcome = stage.handle(connection, locked, progress.timer)
            _finish(connection, stage, locked, outcome, progress)
    except _CAUSED_BY_A_ROW as error:
        if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            raise
        if len(ids) == 1:
            _reject(connection, stage, ids[0], error, progress)
            return
    else:
        _count(progress, stage, len(locked), outcome)
        return
    middle = len(ids) // 2
    _handle(connection, stage, ids[:middle], progress)
    _handle(connection, stage, ids[middle:], progress)


def _lock(connection: Connection, table: str, ids: list[int]) -> list[int]:
    """Lock the rows, so that no load changes them while their results are computed."""
    query = sql.SQL("SELECT id FROM {} WHERE id = ANY (%s::int[]) ORDER BY id FOR NO KEY UPDATE")
    rows = connection.execute(query.format(sql.Identifier(table)), (id_array(ids),)).fetchall()
    return [row[0] for row in rows]


def _finish(
    connection: Connection,
    stage: Stage,
    locked: list[int],
    outcome: BatchOutcome,
    progress: Progress,
) -> None:
    with progress.timer.step("rejected rows"):
        record_rejections(connection, stage.table, locked, outcome.rejections, now=progress.clock())
    # A row that violates a deferred constraint must fail in its batch, not at commit.
    with progress.timer.step("constraints"):
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _reject(
    connection: Connection, stage: Stage, row: int, error: psycopg.Error, progress: Progress
) -> None:
    progress.refused += 1
    if progress.refused > MAX_REFUSED_ROWS:
        raise TransformRefusedError(
            f"the database refused more than {MAX_REFUSED_ROWS} rows of the transform, "
            f"the last one of {stage.table} with SQLSTATE {error.sqlstate}",
            remedy="check the triggers and constraints of that table; "
            "ar_sync.rejected_row lists the rows",
        ) from error
    reason = f"the database refuses the row's results (SQLSTATE {error.sqlstate})"
    rejection = Rejection(str(row), "write", Severity.ERROR, reason)
    try:
        with connection.transaction():
            connection.execute(stage.give_up, {"id": row})
            record_rejections(connection, stage.table, [row], [rejection], now=progress.clock())
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except _CAUSED_BY_A_ROW:
        # The row cannot be marked either: it stays as it is, and the entry has the reason.
        with connection.transaction():
            record_rejections(connection, stage.table, [row], [rejection], now=progress.clock())
    _count(progress, stage, 1, BatchOutcome({}, (rejection,)))


def _count(progress: Progress, stage: Stage, handled: int, outcome: BatchOutcome) -> None:
    progress.batches += 1
    progress.handled[stage.table] += handled
    progress.rows.update(outcome.rows)
    progress.rejected.update(
        (one.step, one.severity, one.reason) for one in set(outcome.rejections)
    )
