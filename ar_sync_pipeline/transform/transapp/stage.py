"""One kind of row and how a batch of it is handled: the words that the rules' modules share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from ar_sync_pipeline.transform.rejected_rows import Rejection

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class BatchOutcome:
    """What one batch came to.

    Attributes:
        rows: per result, the rows that got it.
        rejections: what could not be computed.
    """

    rows: Mapping[str, int]
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class Stage:
    """The rows of one table and what the rules make of them.

    Attributes:
        table: whose rows are handled.
        pending: query for the ids still to be handled, in the order of handling.
        handle: computes and writes the results of locked rows, all in one transaction.
        give_up: marks the row ``%(id)s`` as handled, without results.
        most_rows: upper limit of a batch, where the rows bring more along than others do.
    """

    table: str
    pending: sql.Composed
    handle: Callable[[Connection, list[int], StepTimer], BatchOutcome]
    give_up: sql.Composed
    most_rows: int | None = None


@dataclass
class StepTimer:
    """Adds up the seconds that each step takes.

    Attributes:
        stopwatch: seconds from any start, never going back.
        seconds: per step.
    """

    stopwatch: Callable[[], float]
    seconds: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the block's time for a step."""
        start = self.stopwatch()
        try:
            yield
        finally:
            self.seconds[name] += self.stopwatch() - start  # type: ignore[assignment]


def untransformed(table: str, *, order: Iterable[str] = ("id",)) -> sql.Composed:
    """Return the query for rows whose ``transformed`` is false or NULL, whatever archive brought them.

    Nothing depends on a window or a file's name, so what one run leaves the next one takes (old
    system, D8 and D30).
    """
    return sql.SQL("SELECT id FROM {} WHERE transformed IS NOT TRUE ORDER BY {}").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, order))
    )
