"""Totals of a table by chunk: which chunks have rows, how many, and the digest of their content."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.export.readable_values import readable
from ar_sync_pipeline.export.sparse_keys import is_split
from ar_sync_pipeline.export.unseen import unseen_by
from ar_sync_pipeline.postgres.chunk_ranges import in_chunks
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import ChunkDigest, chunk_index, digest_of_rows, row_digest
from ar_sync_pipeline.postgres.exported_table import ExportedTable


@dataclass(frozen=True)
class CountedChunk:
    """Rows of a chunk, counted without reading their values.

    Attributes:
        new_rows: Number of rows that were written since a point.
        key_span: Number of keys from the first to the last row; None: the table is not split by its
            key.
    """

    row_count: int
    new_rows: int
    key_span: int | None

    @property
    def most_absent_ranges(self) -> int | None:
        """Upper limit of the number of ranges of keys that no row has; None: unknown.

        There is at most one before each row, one for each absent key, and one at each end.
        """
        if self.key_span is None:
            return None
        return min(self.row_count + 1, self.key_span - self.row_count + 2)


def count_chunks(
    connection: Connection, table: ExportedTable, since: Watermark
) -> dict[int | None, CountedChunk]:
    """Count the rows of each chunk, and those that were written since a point."""
    split = is_split(connection, table)
    key = sql.Identifier("t", table.primary_key[0]) if split else sql.SQL("NULL::bigint")
    rows = _Rows(
        plain_rows(table),
        values=sql.SQL(", {} AS key, {} AS is_new").format(key, unseen_by(since)),
        totals=sql.SQL(
            ", count(*) FILTER (WHERE r.is_new),"
            " max(r.key)::numeric - min(r.key)::numeric + 1::numeric"
        ).format(),
    )
    return {
        number: CountedChunk(row_count, new_rows, None if keys is None else int(keys))
        for number, (row_count, new_rows, keys) in _by_chunk(
            connection, rows, table, split=split
        ).items()
    }


def digest_chunks(
    connection: Connection, table: ExportedTable, numbers: Collection[int | None]
) -> dict[int | None, ChunkDigest]:
    """Return the content of some chunks.

    Raises:
        SchemaError: A value cannot be read.
    """
    chosen = {n for n in numbers if n is not None}
    return digests_by_chunk(connection, table, chosen, split=None not in numbers)


def digests_by_chunk(
    connection: Connection,
    table: ExportedTable,
    numbers: Collection[int] = (),
    *,
    split: bool,
) -> dict[int | None, ChunkDigest]:
    """Return the content of chunks with rows.

    Args:
        numbers: Chunks to read; empty: all.
        split: Whether the table is split, by `is_split`.

    Raises:
        SchemaError: A value cannot be read.
    """
    one = row_digest(connection, table.columns, table.values("t"), alias="t")
    total = digest_of_rows(sql.Identifier("r", "digest"))
    rows = _Rows(
        table.source("t"),
        values=sql.SQL(", {} AS digest").format(one),
        totals=sql.SQL(", {}").format(total),
    )
    found = _by_chunk(connection, rows, table, numbers, split=split)
    return {n: ChunkDigest(row_count, str(digest)) for n, (row_count, digest) in found.items()}


def chunks_with_rows(
    connection: Connection, table: ExportedTable, *, split: bool
) -> Iterable[int | None]:
    """Return the numbers of the chunks with rows, in order.

    Args:
        split: Whether the table is split, by `is_split`.
    """
    rows = _Rows(plain_rows(table), values=sql.SQL(""), totals=sql.SQL(""))
    return _by_chunk(connection, rows, table, split=split).keys()


def plain_rows(table: ExportedTable) -> sql.Composed:
    """Return the rows as ``t``, for a query that reads no masked value."""
    return sql.SQL("{} AS t").format(table.rows)


@dataclass(frozen=True)
class _Rows:
    """What to aggregate by chunk.

    Attributes:
        source: The rows as ``t``.
        values: Further columns of each row.
        totals: Further aggregates of the rows ``r`` with these columns.
    """

    source: sql.Composable
    values: sql.Composable
    totals: sql.Composable


def _by_chunk(
    connection: Connection,
    rows: _Rows,
    table: ExportedTable,
    numbers: Collection[int] = (),
    *,
    split: bool,
) -> dict[int | None, tuple[Any, ...]]:
    """Return aggregates, of which the first is the number of rows, by chunk with rows.

    OFFSET NULL keeps the subquery apart: else the planner expects as many chunks as rows, and sorts
    all of them.

    Args:
        numbers: Chunks to read; empty: all.
        split: Whether the table is split, by `is_split`.
    """
    number: sql.Composable = sql.SQL("NULL::bigint")
    wanted: sql.Composable = sql.SQL("true")
    if split:
        key = sql.Identifier("t", table.primary_key[0])
        number = chunk_index(key)
        wanted = in_chunks(key, numbers) if numbers else wanted
    query = sql.SQL(
        "SELECT r.number, count(*){totals} FROM (SELECT {number} AS number{values} FROM {source}"
        " WHERE {wanted} OFFSET NULL) AS r GROUP BY r.number ORDER BY r.number"
    ).format(
        totals=rows.totals, number=number, values=rows.values, source=rows.source, wanted=wanted
    )
    with readable(table.name):
        return {index: tuple(found) for index, *found in connection.execute(query).fetchall()}
