"""Cutting a table into the chunks that an archive holds, each with the query that reads it."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.archive.manifest import KeyRange
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import (
    CHUNK_KEY_BITS,
    ChunkDigest,
    chunk_index,
    digest_of,
    is_chunked,
)
from ar_sync_pipeline.postgres.shipped_table import ShippedTable, column_list


@dataclass(frozen=True)
class ChunkQuery:
    """A chunk to be read: its range of keys, its content as counted, the query for its rows."""

    key_range: KeyRange | None
    content: ChunkDigest
    query: sql.Composed


def chunk_whole_table(connection: Connection, table: ShippedTable) -> list[ChunkQuery]:
    """Cut all rows of a table by ranges of its key; an empty table has no chunks.

    One sequential read, under the connection's snapshot, counts and digests every chunk.
    """
    if not is_chunked(table.columns, table.primary_key):
        return _single_chunk(connection, table, sql.SQL("{} AS t").format(table.rows))
    key = sql.Identifier("t", table.primary_key[0])
    statement = sql.SQL("SELECT {}, count(*), {} FROM {} AS t GROUP BY 1 ORDER BY 1").format(
        chunk_index(key), digest_of(connection, table.columns, alias="t"), table.rows
    )
    return [
        _range_chunk(table, index, ChunkDigest(count, str(digest)))
        for index, count, digest in connection.execute(statement).fetchall()
    ]


def chunk_selected_rows(
    connection: Connection, table: ShippedTable, keys: sql.Composable
) -> list[ChunkQuery]:
    """One chunk of the rows whose keys stand in the relation ``keys``; none if there are none."""
    source = sql.SQL("{} AS t JOIN {} AS k ON {}").format(
        table.rows, keys, table.same_row("t", "k")
    )
    return _single_chunk(connection, table, source)


def changed_keys_query(table: ShippedTable, condition: sql.Composable) -> sql.Composed:
    """The query for the primary keys of the rows ``t`` that meet a condition."""
    return sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(
        column_list(table.primary_key, "t"), table.rows, condition
    )


def _single_chunk(
    connection: Connection, table: ShippedTable, source: sql.Composed
) -> list[ChunkQuery]:
    statement = sql.SQL("SELECT count(*), {} FROM {}").format(
        digest_of(connection, table.columns, alias="t"), source
    )
    row = connection.execute(statement).fetchone()
    if row is None or row[0] == 0:
        return []
    query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
        table.column_list("t"), source, column_list(table.primary_key, "t")
    )
    return [ChunkQuery(None, ChunkDigest(row[0], str(row[1])), query)]


def _range_chunk(table: ShippedTable, index: int, content: ChunkDigest) -> ChunkQuery:
    low = index << CHUNK_KEY_BITS
    key_range = KeyRange(low=low, high=low + (1 << CHUNK_KEY_BITS))
    key = sql.Identifier("t", table.primary_key[0])
    query = sql.SQL(
        "SELECT {columns} FROM {table} AS t WHERE {key} >= {low} AND {key} < {high} ORDER BY {key}"
    ).format(
        columns=table.column_list("t"),
        table=table.rows,
        key=key,
        low=sql.Literal(key_range.low),
        high=sql.Literal(key_range.high),
    )
    return ChunkQuery(key_range, content, query)
