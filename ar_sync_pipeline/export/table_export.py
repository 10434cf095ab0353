"""Split of a table into the chunks of an archive, each with the query that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from ar_sync_pipeline.archive.chunk_member import ChunkWriter
from ar_sync_pipeline.archive.manifest import Chunk, KeyRange
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.copy_stream import copy_out
from ar_sync_pipeline.postgres.digest import (
    CHUNK_KEY_BITS,
    ChunkDigest,
    chunk_index,
    digest_of,
    is_chunked,
)
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.postgres.exported_table import ExportedTable, column_list


@dataclass(frozen=True)
class ChunkQuery:
    """A chunk to read: its range of keys, its counted content, the query for its rows."""

    key_range: KeyRange | None
    content: ChunkDigest
    query: sql.Composed


def chunk_whole_table(connection: Connection, table: ExportedTable) -> list[ChunkQuery]:
    """Split all rows of a table by ranges of its key; an empty table has no chunks.

    One sequential read, under the connection's snapshot, counts and digests every chunk.

    Raises:
        SchemaError: A value cannot be read.
    """
    if not is_chunked(table.columns, table.primary_key):
        return _single_chunk(connection, table, sql.SQL("{} AS t").format(table.rows))
    key = sql.Identifier("t", table.primary_key[0])
    statement = sql.SQL("SELECT {}, count(*), {} FROM {} AS t GROUP BY 1 ORDER BY 1").format(
        chunk_index(key),
        digest_of(connection, table.columns, table.masked("t"), alias="t"),
        table.rows,
    )
    with readable(table.name):
        rows = connection.execute(statement).fetchall()
    return [_range_chunk(table, index, ChunkDigest(n, str(digest))) for index, n, digest in rows]


def chunk_selected_rows(
    connection: Connection, table: ExportedTable, keys: sql.Composable
) -> list[ChunkQuery]:
    """Return one chunk of the rows whose keys are in the relation ``keys``; empty if none are.

    Raises:
        SchemaError: A value cannot be read.
    """
    source = sql.SQL("{} AS t JOIN {} AS k ON {}").format(
        table.rows, keys, table.same_row("t", "k")
    )
    return _single_chunk(connection, table, source)


def changed_keys_query(table: ExportedTable, condition: sql.Composable) -> sql.Composed:
    """Return the query for the primary keys of the rows ``t`` that meet a condition."""
    return sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(
        column_list(table.primary_key, "t"), table.rows, condition
    )


def write_chunk(
    connection: Connection, folder: Path, table: ExportedTable, number: int, chunk: ChunkQuery
) -> Chunk:
    """Write the rows of a chunk to a new member.

    Raises:
        SchemaError: A value cannot be read.
    """
    with readable(table.name), ChunkWriter(folder, table.name, number) as writer:
        rows = copy_out(connection, chunk.query, writer)
        return writer.finish(row_count=rows, digest=chunk.content.digest, key_range=chunk.key_range)


@contextmanager
def readable(table: str) -> Iterator[None]:
    """Name the table whose values the server cannot read or encode in UTF-8.

    Errors that `connect` translates are not changed; the server's text about a value is left out.

    Raises:
        SchemaError: The block failed at a value.
    """
    try:
        yield
    except (
        psycopg.errors.CharacterNotInRepertoire,
        psycopg.errors.UntranslatableCharacter,
    ) as error:
        raise SchemaError(
            f"table {table} holds text that is not valid in the database's encoding or in UTF-8",
            remedy="correct the text, or recreate a SQL_ASCII database with the encoding that its"
            " texts really have",
        ) from error
    except (psycopg.DataError, psycopg.InternalError) as error:
        words = (error.diag.message_primary or type(error).__name__).partition(":")[0]
        raise SchemaError(
            f"table {table} cannot be read ({words})",
            remedy="read the table with psql to find the row, and restore or correct it",
        ) from error


def _single_chunk(
    connection: Connection, table: ExportedTable, source: sql.Composed
) -> list[ChunkQuery]:
    statement = sql.SQL("SELECT count(*), {} FROM {}").format(
        digest_of(connection, table.columns, table.masked("t"), alias="t"), source
    )
    with readable(table.name):
        row = connection.execute(statement).fetchone()
    if row is None or row[0] == 0:
        return []
    query = sql.SQL("SELECT {} FROM {}").format(table.column_list("t"), source)
    if table.primary_key:
        query += sql.SQL(" ORDER BY {}").format(column_list(table.primary_key, "t"))
    return [ChunkQuery(None, ChunkDigest(row[0], str(row[1])), query)]


def _range_chunk(table: ExportedTable, index: int, content: ChunkDigest) -> ChunkQuery:
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
