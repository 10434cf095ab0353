"""Comparison of two sets of rows that are read in key order, without storing either.

Each server reduces a row to its key and the sha256 of its text, so only these are sent over the
network. This code is independent of the digests by which loads decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection

MOST_KEYS = 10

Row = tuple[bytes, str]
_END: Row = (b"", "")


class Kind(StrEnum):
    """Result of the comparison of a row."""

    EQUAL = "equal"
    MISSING = "missing"
    """Only the first has it."""
    MORE = "more"
    """Only the second has it."""
    DIFFERENT = "different"


@dataclass(frozen=True)
class TableDifference:
    """Result of the comparison of one table.

    Attributes:
        table: Label of the table.
        counts: Number of rows by kind.
        keys: Up to ten keys by kind, as text.
        columns: Columns that the second lacks or has with another type.
        problem: Why the rows could not be compared; empty if they were.
        partial: Whether the first has only some rows, so that more rows are no difference.
        stored: Columns of which the sender's values that the second has stored were compared, not
            the second's own, since the transform changes these in place.
    """

    table: str
    counts: Mapping[Kind, int]
    keys: Mapping[Kind, tuple[str, ...]]
    columns: tuple[str, ...] = ()
    problem: str = ""
    partial: bool = False
    stored: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.columns or self.problem or any(self.count(kind) for kind in _WRONG))

    def count(self, kind: Kind) -> int:
        """Return the number of rows of a kind."""
        return 0 if kind is Kind.MORE and self.partial else self.counts.get(kind, 0)

    def as_dict(self) -> dict[str, Any]:
        """Return the stable format of ``ar-sync compare --json``."""
        return {
            "table": self.table,
            "equal": self.equal,
            "rows": {str(kind): self.count(kind) for kind in Kind},
            "keys": {str(kind): list(self.keys.get(kind, ())) for kind in _WRONG},
            "columns": list(self.columns),
            "problem": self.problem or None,
            "stored": list(self.stored),
        }


_WRONG = (Kind.MISSING, Kind.MORE, Kind.DIFFERENT)


def row_query(
    source: sql.Composable,
    columns: Sequence[str],
    key: Sequence[str],
    values: Mapping[str, sql.Composable] | None = None,
) -> sql.Composed:
    """Return a query for key and sha256 of each row of ``t``, by the keys' UTF-8 bytes.

    Args:
        source: FROM item with the alias ``t``.
        columns: Columns to compare.
        key: Columns of the key; empty: the whole row is the key.
        values: By column, an expression to read instead.
    """

    def row(names: Sequence[str]) -> sql.Composed:
        fields = ((values or {}).get(name, sql.Identifier("t", name)) for name in names)
        return sql.SQL("pg_catalog.convert_to(ROW({})::text, 'UTF8')").format(
            sql.SQL(", ").join(fields)
        )

    return sql.SQL(
        "COPY (SELECT {}, pg_catalog.sha256({}) FROM {} ORDER BY 1, 2) TO STDOUT"
    ).format(row(key or columns), row(columns), source)


def read_rows(connection: Connection, query: sql.Composed) -> Generator[Row]:
    """Yield the rows of a query of `row_query`, streamed."""
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for key, digest in copy.rows():
            yield bytes.fromhex(key[2:]), digest


def difference(
    table: str,
    first: Generator[Row],
    second: Generator[Row],
    *,
    columns: tuple[str, ...] = (),
    partial: bool = False,
) -> TableDifference:
    """Compare two sorted streams of rows, and close both.

    A stream that an error of the other left open would keep its session locked: psycopg's end of
    the transaction would wait for it without end.
    """
    counts = Counter[Kind]()
    keys: dict[Kind, list[str]] = {kind: [] for kind in _WRONG}
    with closing(first), closing(second):
        for kind, key in _walk(first, second):
            counts[kind] += 1
            if kind is not Kind.EQUAL and len(keys[kind]) < MOST_KEYS:
                keys[kind].append(key.decode("utf-8", "replace")[1:-1])
    named = {kind: tuple(found) for kind, found in keys.items()}
    if partial:
        named[Kind.MORE] = ()
    return TableDifference(table, counts, named, columns, partial=partial)


def _walk(first: Iterator[Row], second: Iterator[Row]) -> Iterator[tuple[Kind, bytes]]:
    ours, theirs = next(first, _END), next(second, _END)
    while ours is not _END or theirs is not _END:
        if theirs is _END or (ours is not _END and ours[0] < theirs[0]):
            yield Kind.MISSING, ours[0]
            ours = next(first, _END)
        elif ours is _END or theirs[0] < ours[0]:
            yield Kind.MORE, theirs[0]
            theirs = next(second, _END)
        else:
            yield Kind.EQUAL if ours[1] == theirs[1] else Kind.DIFFERENT, ours[0]
            ours, theirs = next(first, _END), next(second, _END)
