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
from ar_sync_pipeline.postgres.copy_stream import copy_out, copy_out_digested
from ar_sync_pipeline.postgres.digest import (
    CHUNK_KEY_BITS,
    ChunkDigest,
    chunk_index,
    digest_of,
    is_chunked,
    row_digest,
)
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.postgres.exported_table import ExportedTable, column_list


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
    source = sql.SQL("{} AS t").format(table.rows)
    if not is_chunked(table.columns, table.primary_key):
        return _single_chunk(connection, table, source, digested=digested)
    statement = sql.SQL("SELECT {}, {} FROM {} GROUP BY 1 ORDER BY 1").format(
        chunk_index(sql.Identifier("t", table.primary_key[0])),
        _content(connection, table, digested=digested),
        source,
    )
    with readable(table.name):
        rows = connection.execute(statement).fetchall()
    return [_range_chunk(connection, table, index, _digest(*found)) for index, *found in rows]


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
        if chunk.content is not None:
            rows, digest = copy_out(connection, chunk.query, writer), chunk.content.digest
        else:
            rows, total = copy_out_digested(connection, chunk.query, writer)
            digest = str(total)
        return writer.finish(row_count=rows, digest=digest, key_range=chunk.key_range)


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
    connection: Connection, table: ExportedTable, source: sql.Composed, *, digested: bool = True
) -> list[ChunkQuery]:
    statement = sql.SQL("SELECT {} FROM {}").format(
        _content(connection, table, digested=digested), source
    )
    with readable(table.name):
        row = connection.execute(statement).fetchone()
    if row is None or row[0] == 0:
        return []
    content = _digest(*row)
    return [ChunkQuery(None, content, _row_query(connection, table, source, content))]


def _range_chunk(
    connection: Connection, table: ExportedTable, index: int, content: ChunkDigest | None
) -> ChunkQuery:
    low = index << CHUNK_KEY_BITS
    key_range = KeyRange(low=low, high=low + (1 << CHUNK_KEY_BITS))
    source = sql.SQL("{table} AS t WHERE {key} >= {low} AND {key} < {high}").format(
        table=table.rows,
        key=sql.Identifier("t", table.primary_key[0]),
        low=sql.Literal(key_range.low),
        high=sql.Literal(key_range.high),
    )
    return ChunkQuery(key_range, content, _row_query(connection, table, source, content))


def _content(connection: Connection, table: ExportedTable, *, digested: bool) -> sql.Composable:
    """Return the aggregates of a chunk: its number of rows, and their digest or NULL."""
    if not digested:
        return sql.SQL("count(*), NULL")
    digest = digest_of(connection, table.columns, table.masked("t"), alias="t")
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
