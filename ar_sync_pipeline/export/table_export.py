"""Split of a table into the chunks of an archive, each with the query that reads it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from ar_sync_pipeline.archive.chunk_member import ChunkWriter
from ar_sync_pipeline.archive.manifest import Chunk, KeyRange, Watermark
from ar_sync_pipeline.export.chunk_totals import chunks_with_rows, digests_by_chunk, plain_rows
from ar_sync_pipeline.export.errors import changing_meanwhile
from ar_sync_pipeline.export.readable_values import readable
from ar_sync_pipeline.export.sparse_keys import is_split
from ar_sync_pipeline.export.unseen import unseen_by
from ar_sync_pipeline.postgres.chunk_ranges import (
    in_chunks,
    key_at,
    keys_per_chunk,
    offset_in_chunk,
    range_of,
)
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.copy_stream import copy_out, copy_out_digested
from ar_sync_pipeline.postgres.digest import (
    ChunkDigest,
    chunk_index,
    digest_of,
    row_digest,
)
from ar_sync_pipeline.postgres.exported_table import ExportedTable
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.sql_parts import column_list


@dataclass(frozen=True)
class ChunkQuery:
    """A chunk to read.

    Attributes:
        key_range: Its range of keys.
        content: Its counted content; None: the last column of the query is each row's digest.
        query: Query for its rows.
    """

    key_range: KeyRange | None
    content: ChunkDigest | None
    query: sql.Composed


def chunk_whole_table(
    connection: Connection, table: ExportedTable, *, digested: bool = True
) -> list[ChunkQuery]:
    """Split all rows of a table by ranges of its key; an empty table has no chunks.

    One sequential read, under the connection's snapshot, counts and digests every chunk.

    Args:
        digested: Whether to digest the chunks; otherwise `write_chunk` does, and computes masked
            values once instead of twice.

    Raises:
        SchemaError: A value cannot be read.
    """
    split = is_split(connection, table)
    contents: Mapping[int | None, ChunkDigest | None]
    if digested:
        contents = digests_by_chunk(connection, table, split=split)
    else:
        contents = dict.fromkeys(chunks_with_rows(connection, table, split=split))
    return [chunk_query(connection, table, number, one) for number, one in contents.items()]


def are_masks_remembered(connection: Connection, table: ExportedTable) -> bool:
    """Return whether PostgreSQL computes each expensive mask once for equal values.

    Its planner decides by its statistics of the column. Without such masks the result is True.
    """
    if not table.costly:
        return True
    plan = sql.SQL("EXPLAIN (FORMAT JSON) SELECT {} FROM {}").format(
        table.column_list("t"), table.source("t")
    )
    remembered = str(scalar(connection, plan)).count("'Memoize'")
    return remembered == len(table.costly)


def chunk_selected_rows(
    connection: Connection, table: ExportedTable, keys: sql.Composable
) -> list[ChunkQuery]:
    """Return one chunk of the rows whose keys are in the relation ``keys``; empty if none are.

    Raises:
        SchemaError: A value cannot be read.
    """
    chosen = sql.SQL(" JOIN {} AS k ON {}").format(keys, table.same_row("t", "k"))
    with readable(table.name):
        row = connection.execute(
            sql.SQL("SELECT {} FROM {}{}").format(
                _content(connection, table, digested=not table.masks), plain_rows(table), chosen
            )
        ).fetchone()
    if row is None or row[0] == 0:
        return []
    content = _digest(*row)
    query = _row_query(connection, table, table.source("t") + chosen, content)
    return [ChunkQuery(None, content, query)]


def chunk_query(
    connection: Connection,
    table: ExportedTable,
    number: int | None,
    content: ChunkDigest | None,
) -> ChunkQuery:
    """Return the query for a chunk; ``number`` is None if it is the whole table."""
    key_range = None if number is None else range_of(number)
    source = _rows_in(table, key_range)
    return ChunkQuery(key_range, content, _row_query(connection, table, source, content))


def changes_query(table: ExportedTable, key_range: KeyRange, since: Watermark) -> sql.Composed:
    """Return the query for the rows of a chunk that were written since a point."""
    return sql.SQL("SELECT {} FROM {} AND {}").format(
        table.column_list("t"), _rows_in(table, key_range), unseen_by(since)
    )


def absent_keys_query(table: ExportedTable, numbers: Collection[int]) -> sql.Composed:
    """Return the query for the ranges of keys, first and last, that no row of some chunks has."""
    key = sql.Identifier("t", table.primary_key[0])
    return sql.SQL(
        "SELECT {first}, {last} FROM (SELECT k.chunk, k.place,"
        " pg_catalog.lag(k.place, 1, -1::bigint) OVER (PARTITION BY k.chunk ORDER BY k.place)"
        " AS before"
        " FROM (SELECT {chunk}, {place} FROM {rows} AS t WHERE {wanted}"
        " UNION ALL SELECT n, {end}::bigint FROM pg_catalog.unnest({numbers}::bigint[]) AS n)"
        " AS k (chunk, place)) AS g WHERE g.place > g.before + 1"
    ).format(
        first=key_at(sql.SQL("g.chunk"), sql.SQL("(g.before + 1)")),
        last=key_at(sql.SQL("g.chunk"), sql.SQL("(g.place - 1)")),
        chunk=chunk_index(key),
        place=offset_in_chunk(key),
        rows=table.rows,
        wanted=in_chunks(key, numbers),
        end=sql.Literal(keys_per_chunk()),
        numbers=sql.Literal(sorted(numbers)),
    )


def changed_keys_query(
    table: ExportedTable, since: Watermark, numbers: Collection[int | None] | None
) -> sql.Composed:
    """Return the query for the primary keys of the rows that were written since a point.

    Args:
        numbers: Chunks that can have such rows; None: all.
    """
    within: sql.Composable = sql.SQL("true")
    if numbers is not None and not numbers:
        within = sql.SQL("false")
    elif numbers is not None and None not in numbers:
        key = sql.Identifier("t", table.primary_key[0])
        within = in_chunks(key, {n for n in numbers if n is not None})
    return sql.SQL("SELECT {} FROM {} AS t WHERE {} AND {}").format(
        column_list(table.primary_key, "t"), table.rows, within, unseen_by(since)
    )


def write_chunk(
    connection: Connection, folder: Path, table: ExportedTable, number: int, chunk: ChunkQuery
) -> Chunk:
    """Write the rows of a chunk to a new member.

    Raises:
        SchemaError: A value cannot be read.
        TablesChangingError: A partition was attached or detached since the rows were counted.
    """
    with readable(table.name), ChunkWriter(folder, table.name, number) as writer:
        if chunk.content is not None:
            rows, digest = copy_out(connection, chunk.query, writer), chunk.content.digest
            if rows != chunk.content.row_count:
                # ATTACH PARTITION takes no lock that waits for this dump, nor obeys its snapshot.
                raise changing_meanwhile(f"partitions of {table.name}")
        else:
            rows, total = copy_out_digested(connection, chunk.query, writer)
            digest = str(total)
        return writer.finish(row_count=rows, digest=digest, key_range=chunk.key_range)


def _rows_in(table: ExportedTable, key_range: KeyRange | None) -> sql.Composed:
    """Return the rows of a chunk, with their masked values."""
    if key_range is None:
        return table.source("t")
    return sql.SQL("{source} WHERE {key} >= {low} AND {key} OPERATOR(pg_catalog.<) {high}").format(
        source=table.source("t"),
        key=sql.Identifier("t", table.primary_key[0]),
        low=sql.Literal(key_range.low),
        high=sql.Literal(key_range.high),
    )


def _content(connection: Connection, table: ExportedTable, *, digested: bool) -> sql.Composable:
    """Return the aggregates of a chunk: its number of rows, and their digest or NULL."""
    if not digested:
        return sql.SQL("count(*), NULL")
    digest = digest_of(connection, table.columns, table.values("t"))
    return sql.SQL("count(*), {}").format(digest)


def _digest(row_count: int, digest: object) -> ChunkDigest | None:
    return None if digest is None else ChunkDigest(row_count, str(digest))


def _row_query(
    connection: Connection, table: ExportedTable, source: sql.Composed, content: ChunkDigest | None
) -> sql.Composed:
    """Return the query for rows ``t``, followed by each row's digest if the content is unknown."""
    values = table.column_list("t")
    ordered = source
    if table.primary_key:
        ordered += sql.SQL(" ORDER BY {}").format(column_list(table.primary_key, "t"))
    if content is not None:
        return sql.SQL("SELECT {} FROM {}").format(values, ordered)
    # OFFSET keeps the planner from copying the expressions to both places that read them.
    return sql.SQL("SELECT t.*, {} FROM (SELECT {} FROM {} OFFSET 0) AS t ({})").format(
        row_digest(connection, table.columns, alias="t"),
        values,
        ordered,
        column_list(column.name for column in table.columns),
    )
