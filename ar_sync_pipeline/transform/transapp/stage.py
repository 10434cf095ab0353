"""Stage of the transform: the types that the modules of the rules share."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.transform.errors import TransformTooSlowError
from ar_sync_pipeline.transform.rejected_rows import Rejection


@dataclass(frozen=True)
class BatchOutcome:
    """Result of one batch.

    Attributes:
        rows: Number of rows by result.
        rejections: Results that could not be computed.
    """

    rows: Mapping[str, int]
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class Stage:
    """Rows of one table, and how the rules handle a batch of them.

    Attributes:
        table: Table of the rows.
        pending: Query for the ids to handle, in the order of handling.
        handle: Function that computes and writes the results of locked rows in one transaction.
        give_up: Statement that marks the row ``%(id)s`` as handled, without results.
        most_rows: Upper limit of a batch, for rows that need more memory than others.
        check: Function that raises `TransformRefusedError` if the database can take no row; it is
            called before the rows are read.
    """

    table: str
    pending: sql.Composed
    handle: Callable[[Connection, list[int], StepTimer], BatchOutcome]
    give_up: sql.Composed
    most_rows: int | None = None
    check: Callable[[Connection], None] | None = None


@dataclass
class StepTimer:
    """Adds up the duration of each step, and limits that of the run.

    Attributes:
        stopwatch: Monotonic clock in seconds.
        deadline: Time of the stopwatch after which the run ends.
        seconds: Duration by step.
    """

    stopwatch: Callable[[], float]
    deadline: float = math.inf
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the duration of the block to a step."""
        start = self.stopwatch()
        try:
            yield
        finally:
            self.seconds[name] += self.stopwatch() - start

    def check_deadline(self, when: str) -> None:
        """Check that the run has time left.

        Args:
            when: What the run has reached, for the message.

        Raises:
            TransformTooSlowError: The deadline has passed.
        """
        if self.stopwatch() > self.deadline:
            raise too_slow(when)


def too_slow(when: str) -> TransformTooSlowError:
    """Return the error of a run that reached its time limit."""
    return TransformTooSlowError(
        f"the transform ran longer than its time limit and was stopped {when}",
        remedy="finished batches are kept and the next run continues from there; if it happens "
        "again, check for locks or a missing index, or raise AR_SYNC_TRANSFORM_TIMEOUT",
    )


def untransformed(table: str, *, order: Iterable[str] = ("id",)) -> sql.Composed:
    """Return the query for rows whose ``transformed`` is false or NULL.

    It depends neither on a window nor on a file name, so the next run handles what one run leaves
    (old system, D8 and D30).
    """
    return sql.SQL("SELECT id FROM {} WHERE transformed IS NOT TRUE ORDER BY {}").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, order))
    )


def marked_transformed(table: str) -> sql.Composed:
    """Return the statement that sets ``transformed`` of rows with some ids."""
    return sql.SQL(
        "UPDATE {} SET transformed = true WHERE id = ANY (%s::int[]) AND transformed IS NOT TRUE"
    ).format(sql.Identifier(table))
