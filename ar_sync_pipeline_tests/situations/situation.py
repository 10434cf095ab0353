"""What a situation is: two schemas, a few changes at the sender, and what must be true after each.

Rows are compared as the text that COPY prints, byte by byte, line by line. Nothing of that is
shared with the product, which moves binary rows and compares digests.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from zlib import crc32

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind

Row = tuple[object, ...]


class Mode(StrEnum):
    """As whom the receiver loads."""

    SUPERUSER = "superuser"
    LEAST = "least"
    """Reads and writes the tables, owns none, may not set session_replication_role."""
    REPLICA = "replica"
    """As LEAST, and may set session_replication_role."""


EVERY_MODE = tuple(Mode)
EVERY_MODE_VARIABLE = "AR_SYNC_EVERY_MODE"
"""Set for a night (`make soak`): each situation as each role that it names, filled either way."""
ONCE = (Mode.SUPERUSER,)
# From the release notes; older servers refuse the statement.
_SINCE = {"NULLS NOT DISTINCT": 15, "SET NULL (": 15, "SET DEFAULT (": 15}


class Filling(StrEnum):
    """How rows get into empty tables."""

    DIRECT = "direct"
    """Copied straight into them."""
    STAGED = "staged"
    """Through the tables of the load, as those of a table with rows."""


@dataclass(frozen=True)
class Query:
    """What the receiver must answer."""

    sql: str
    answer: Sequence[Row]


@dataclass(frozen=True)
class Step:
    """Something happens at the sender, an archive is made and loaded.

    Attributes:
        kind: of the archive.
        sender: SQL at the sender before the archive is made.
        receiver: SQL at the receiver before it is loaded.
        deletes: rows that the plan may delete, by table; None: whatever it says. A partial says
            that it deletes nothing unless this names something.
        keeps: the receiver may still have rows that the sender deleted.
        compared: whether rows are compared with the sender's.
        waits_for: words in the reason for which the archive is parked first.
        meanwhile: what the receiver answers while the archive is parked.
        then: SQL at the receiver after which it loads by itself.
        may_wait: by mode, words in the reason of an archive that may also be parked for good.
        finds: what the receiver answers after the load.
    """

    kind: ArchiveKind
    sender: str = ""
    receiver: str = ""
    deletes: Mapping[str, int] | None = None
    keeps: bool = False
    compared: bool = True
    waits_for: Sequence[str] = ()
    meanwhile: Sequence[Query] = ()
    then: str = ""
    may_wait: Mapping[Mode, Sequence[str]] = field(default_factory=dict)
    finds: Sequence[Query] = ()


@dataclass(frozen=True)
class Situation:
    """Two servers, from their empty tables on.

    Attributes:
        name: of the test.
        both: SQL at both servers.
        receiver: SQL at the receiver behind it: what only it has.
        rows: SQL at the sender before the first complete.
        own: SQL at the receiver after the first complete is loaded.
        steps: what happens then.
        modes: as whom the receiver loads.
        first_may_wait: as `Step.may_wait`, of the first complete.
        tables: of the catalog.
        rules: of the catalog, by table.
        receiver_tables: of the catalog.
        late_waits_for: words in the reason for which the first step's archive waits for the next
            complete if it comes last; empty: it is applied.
    """

    name: str
    both: str
    rows: str = ""
    receiver: str = ""
    own: str = ""
    steps: Sequence[Step] = ()
    modes: Sequence[Mode] = ONCE
    first_may_wait: Mapping[Mode, Sequence[str]] = field(default_factory=dict)
    tables: Sequence[str] = ("t_*",)
    rules: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    receiver_tables: Sequence[str] = ()
    late_waits_for: Sequence[str] = ()

    @property
    def needs(self) -> int:
        """Oldest major version of PostgreSQL that has what the SQL uses."""
        text = repr(self)
        return max((since for words, since in _SINCE.items() if words in text), default=13)


def partial(
    sender: str = "",
    *,
    receiver: str = "",
    deletes: Mapping[str, int] | None = None,
    keeps: bool = False,
    compared: bool = True,
    waits_for: Sequence[str] = (),
    meanwhile: Sequence[Query] = (),
    then: str = "",
    may_wait: Mapping[Mode, Sequence[str]] | None = None,
    finds: Sequence[Query] = (),
) -> Step:
    """A partial, which deletes nothing but what ``deletes`` names."""
    return Step(
        ArchiveKind.PARTIAL,
        sender,
        receiver,
        deletes or {},
        keeps,
        compared,
        waits_for,
        meanwhile,
        then,
        may_wait or {},
        finds,
    )


def complete(
    sender: str = "",
    *,
    receiver: str = "",
    deletes: Mapping[str, int] | None = None,
    waits_for: Sequence[str] = (),
    meanwhile: Sequence[Query] = (),
    then: str = "",
    may_wait: Mapping[Mode, Sequence[str]] | None = None,
    finds: Sequence[Query] = (),
) -> Step:
    """A complete; its deletions are looked at where ``deletes`` is given."""
    return Step(
        ArchiveKind.COMPLETE,
        sender,
        receiver,
        deletes,
        False,
        True,
        waits_for,
        meanwhile,
        then,
        may_wait or {},
        finds,
    )


def ask(sql: str, *answer: Row) -> Query:
    """What the receiver must answer, row by row."""
    return Query(sql, answer)


def filling_of(situation: Situation) -> Filling:
    """How a situation's empty tables are filled where it is gone through once."""
    even = crc32(situation.name[::-1].encode()) % 2 == 0
    return Filling.DIRECT if even else Filling.STAGED


def _chosen(situation: Situation) -> Iterable[tuple[Mode, Filling]]:
    if os.environ.get(EVERY_MODE_VARIABLE):
        return product(situation.modes, Filling)
    mode = situation.modes[crc32(situation.name.encode()) % len(situation.modes)]
    return [(mode, filling_of(situation))]


def cases(situations: Iterable[Situation]) -> pytest.MarkDecorator:
    """One test for each situation in one of its modes, or in each of them filled either way.

    Which one it is follows from the name, so that each mode meets its share of every table.
    """
    names = [situation.name for situation in situations]
    assert len(set(names)) == len(names)
    chosen = [
        pytest.param(situation, mode, filling, id=f"{situation.name}-{mode}-{filling}")
        for situation in situations
        for mode, filling in _chosen(situation)
    ]
    return pytest.mark.parametrize(("situation", "mode", "filling"), chosen)
