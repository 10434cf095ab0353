"""Statements that other sessions run during a dump or a load, and how long each waited."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import psycopg


class TimedStatements:
    """Longest wait by statement."""

    def __init__(self) -> None:
        self._waits: dict[str, float] = {}

    def run(self, connection: psycopg.Connection[tuple[object, ...]], statement: str) -> None:
        """Run a statement, which may fail, such as one for a partition that exists already."""
        began = time.monotonic()
        try:
            connection.execute(statement.encode())
        except psycopg.Error:
            connection.rollback()
        self._waits[statement] = max(self._waits.get(statement, 0.0), time.monotonic() - began)

    @property
    def longest(self) -> tuple[str, float]:
        """The statement that waited longest, with its seconds."""
        return max(self._waits.items(), key=lambda item: item[1])


def recorded_random(record_property: Callable[[str, object], None]) -> random.Random:
    """Return random numbers whose seed is a property of the test; `-p randomly_seed` repeats it."""
    seed = random.randrange(2**32)  # noqa: S311  a test's choice, which pytest-randomly seeds
    record_property("seed", seed)
    return random.Random(seed)  # noqa: S311  the same
