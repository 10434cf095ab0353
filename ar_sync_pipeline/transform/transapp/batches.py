"""Handles the rows of a stage in batches of limited size, each in one transaction.

If the database refuses a batch, or the rules fail on it, the batch is halved until the bad row is
alone. That row is recorded as rejected, and the others are handled (old system, D27 and D28). It is
marked as handled only if another row of its table gets results after it, or was handled without
results a day after the row was first recorded: until then the cause may be a trigger, a constraint
or a setting, and its results would be lost for good. Before that it is tried again, since a
load may have changed it meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import psycopg
from psycopg import sql

from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.transform.errors import TransformRefusedError
from ar_sync_pipeline.transform.rejected_rows import (
    FEW_REFUSED_ROWS,
    Rejection,
    Severity,
    record_rejections,
    recorded_before,
)
from ar_sync_pipeline.transform.transapp.frames import id_array
from ar_sync_pipeline.transform.transapp.report import RULES, WRITE
from ar_sync_pipeline.transform.transapp.stage import BatchOutcome, Stage, StepTimer

MAX_REFUSED_ROWS: Final = 100
"""If more rows of a table are refused in one run, the cause is not in the rows."""
_LONG_RECORDED: Final = timedelta(days=1)
"""Time that people have to remove a cause that is not in the rows."""

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
        timer: Timer of the steps, with the time limit.
        handled: Number of handled rows by table.
        rows: Number of rows by result.
        rejected: Number of rows by step, severity and reason.
        batches: Number of committed transactions.
        refused: Number of rows of the current stage that the database refused, or on which the
            rules failed.
        suspects: Refused rows of the current stage that are not marked as handled.
        any_handled: Whether a row of the current stage was handled.
        any_results: Whether a row of the current stage got its results after the last refusal.
        good: Newest batch of the current stage in which a row got its results.
    """

    clock: Clock
    timer: StepTimer
    handled: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    rejected: Counter[tuple[str, Severity, str]] = field(default_factory=Counter)
    batches: int = 0
    refused: int = 0
    suspects: list[Rejection] = field(default_factory=list)
    any_handled: bool = False
    any_results: bool = False
    good: list[int] = field(default_factory=list)


def run_stage(connection: Connection, stage: Stage, progress: Progress, batch_rows: int) -> None:
    """Handle all pending rows of a stage.

    Args:
        connection: Connection in autocommit mode.
        stage: Stage with the rows and their handler.
        progress: Progress, updated after each batch.
        batch_rows: Upper limit of a batch.

    Raises:
        TransformRefusedError: The database refused more than ``MAX_REFUSED_ROWS`` rows, or several
            and no row got results, or the rules failed on them, or the stage's check failed.
        TransformTooSlowError: The deadline has passed and rows are left.
    """
    progress.refused, progress.suspects, progress.good = 0, [], []
    progress.any_handled = progress.any_results = False
    if stage.check is not None:
        stage.check(connection)
    rows = min(batch_rows, stage.most_rows or batch_rows)
    for ids in _pending(connection, stage, progress.timer, rows):
        progress.timer.check_deadline(f"after {sum(progress.handled.values()):,} rows")
        _handle(connection, stage, ids, progress)
    # Only now: a table with too many refused rows gives up none of them.
    _blame_suspects(connection, stage, progress)
    _leave_suspects(connection, stage, progress)
    if len(progress.suspects) >= FEW_REFUSED_ROWS:
        raise _unproven(stage, progress.suspects)


def _pending(
    connection: Connection, stage: Stage, timer: StepTimer, batch_rows: int
) -> Iterator[list[int]]:
    """Yield the ids of one scan, whose cursor the server keeps across transactions."""
    with psycopg.ServerCursor(connection, "ar_sync_pending", withhold=True) as cursor:
        with timer.step("find rows"):
            cursor.execute(stage.pending)
        while rows := cursor.fetchmany(batch_rows):
            yield [row[0] for row in rows]


def _handle(connection: Connection, stage: Stage, ids: list[int], progress: Progress) -> None:
    try:
        with connection.transaction():
            locked = _lock(connection, stage.table, ids)
            outcome = stage.handle(connection, locked, progress.timer)
            _finish(connection, stage, locked, outcome, progress)
    except Exception as error:
        if not _may_be_caused_by_a_row(error):
            raise
        if len(ids) == 1:
            _reject(connection, stage, ids[0], error, progress)
            return
    else:
        _count(progress, stage, len(locked), outcome)
        progress.any_handled |= bool(locked)
        if _has_results(locked, outcome):
            progress.any_results, progress.good = True, locked
        return
    middle = len(ids) // 2
    _handle(connection, stage, ids[:middle], progress)
    _handle(connection, stage, ids[middle:], progress)


def _has_results(locked: list[int], outcome: BatchOutcome) -> bool:
    """Return whether a row of a batch got its results: only marking it proves little.

    A cause outside the rows often refuses only the statements or values of results.
    """
    lacking = {one.primary_key for one in outcome.rejections if one.severity is Severity.ERROR}
    return any(outcome.rows.values()) and len(lacking) < len(locked)


def _may_be_caused_by_a_row(error: Exception) -> bool:
    """Return whether smaller batches may find the row that causes an error.

    An error of this product has its own policy. Any other error of Python is a value that the rules
    do not foresee, and must not keep the other rows from their results.
    """
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return False
    if isinstance(error, psycopg.Error):
        return isinstance(error, _CAUSED_BY_A_ROW)
    return not isinstance(error, ArSyncError | MemoryError | OSError)


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
    connection: Connection, stage: Stage, row: int, error: Exception, progress: Progress
) -> None:
    progress.refused += 1
    progress.any_results = False
    progress.suspects.append(_rejection(row, error))
    if progress.refused > MAX_REFUSED_ROWS:
        _leave_suspects(connection, stage, progress)
        raise _too_many(stage, error) from error


def _blame_suspects(connection: Connection, stage: Stage, progress: Progress) -> None:
    """Mark the refused rows as handled of which other rows prove that the cause is in them."""
    blamed = _proven(connection, stage, progress)
    progress.suspects = [one for one in progress.suspects if one not in blamed]
    for rejection in blamed:
        _give_up(connection, stage, rejection, progress)


def _give_up(connection: Connection, stage: Stage, refused: Rejection, progress: Progress) -> None:
    """Mark a refused row as handled, if it is still refused: a load may have changed it."""
    row = int(refused.primary_key)
    try:
        with connection.transaction():
            locked = _lock(connection, stage.table, [row])
            outcome = _try_again(connection, stage, locked, progress)
            if outcome is None:
                connection.execute(stage.give_up, {"id": row})
                _record(connection, stage, refused, progress)
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except _CAUSED_BY_A_ROW:
        # The row cannot be marked either: it stays as it is, and the entry has the reason.
        _record(connection, stage, refused, progress)
        outcome = None
    _count(progress, stage, 1, outcome or BatchOutcome({}, (refused,)))


def _try_again(
    connection: Connection, stage: Stage, locked: list[int], progress: Progress
) -> BatchOutcome | None:
    """Return the outcome of locked rows; None if they are refused."""
    try:
        with connection.transaction():
            outcome = stage.handle(connection, locked, progress.timer)
            _finish(connection, stage, locked, outcome, progress)
    except Exception as error:
        if not _may_be_caused_by_a_row(error):
            raise
        return None
    return outcome


def _proven(connection: Connection, stage: Stage, progress: Progress) -> list[Rejection]:
    if progress.suspects and (progress.any_results or _is_still_good(connection, stage, progress)):
        return progress.suspects
    if progress.any_handled and progress.suspects:
        before = progress.clock() - _LONG_RECORDED
        return recorded_before(connection, stage.table, progress.suspects, before=before)
    return []


def _is_still_good(connection: Connection, stage: Stage, progress: Progress) -> bool:
    """Return whether rows that got results before the last refusal get them again.

    If not, the cause is newer than their results: a trigger or constraint added during the run.
    """
    with connection.transaction(force_rollback=True):
        locked = _lock(connection, stage.table, progress.good)
        outcome = _try_again(connection, stage, locked, progress) if locked else None
        return outcome is not None and _has_results(locked, outcome)


def _leave_suspects(connection: Connection, stage: Stage, progress: Progress) -> None:
    """Record the refused rows and leave them to the next run."""
    for rejection in progress.suspects:
        _record(connection, stage, rejection, progress)
        _count(progress, stage, 1, BatchOutcome({}, (rejection,)))


def _record(connection: Connection, stage: Stage, rejection: Rejection, progress: Progress) -> None:
    keys = [int(rejection.primary_key)]
    with connection.transaction():
        record_rejections(connection, stage.table, keys, [rejection], now=progress.clock())


def _rejection(row: int, error: Exception) -> Rejection:
    if isinstance(error, psycopg.Error):
        reason = f"the database refuses the row's results (SQLSTATE {error.sqlstate})"
        return Rejection(str(row), WRITE, Severity.ERROR, reason)
    # The message of the exception may contain the value, which is not for every reader.
    reason = f"the rules failed on this row ({type(error).__name__})"
    return Rejection(str(row), RULES, Severity.ERROR, reason)


def _too_many(stage: Stage, error: Exception) -> TransformRefusedError:
    if isinstance(error, psycopg.Error):
        return TransformRefusedError(
            f"the database refused more than {MAX_REFUSED_ROWS} rows of {stage.table}, "
            f"the last one with SQLSTATE {error.sqlstate}",
            remedy="check the triggers and constraints of that table; "
            "ar_sync.rejected_row lists the rows",
        )
    return TransformRefusedError(
        f"the rules of the transform failed on more than {MAX_REFUSED_ROWS} rows of {stage.table}, "
        f"the last one with {type(error).__name__}",
        remedy="report the traceback of this run as a bug; ar_sync.rejected_row lists the rows",
    )


def _unproven(stage: Stage, suspects: Sequence[Rejection]) -> TransformRefusedError:
    return TransformRefusedError(
        f"{len(suspects)} rows of {stage.table} are refused and no other one gets new results, the"
        f" last one because {suspects[-1].reason}",
        remedy="check the triggers, constraints and columns of the AndroidRequests tables there, or"
        " report a failure of the rules as a bug; the rows wait, and the next transform handles"
        " them",
    )


def _count(progress: Progress, stage: Stage, handled: int, outcome: BatchOutcome) -> None:
    progress.batches += 1
    progress.handled[stage.table] += handled
    progress.rows.update(outcome.rows)
    progress.rejected.update(
        (one.step, one.severity, one.reason) for one in set(outcome.rejections)
    )
