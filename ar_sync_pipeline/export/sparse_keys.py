"""Whether a table is split into chunks by its integer key.

A chunk is a range of keys. Where keys are far apart, as those of Snowflake or of a clock, each row
would be a chunk, with a member and a description of its own. Such a table is one chunk, as a table
with a text key is.
"""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.postgres.chunk_ranges import key_at
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import chunk_index, is_chunked
from ar_sync_pipeline.postgres.exported_table import ExportedTable
from ar_sync_pipeline.postgres.scalar import scalar

# The description of a chunk takes 300 bytes of the manifest.
_LEAST_BYTES_OF_A_CHUNK = 64 * 1024
_ALWAYS_CHUNKS, _MOST_CHUNKS = 256, 100_000
_LAST_CHUNK = (1 << 47) - 1


def is_split(connection: Connection, table: ExportedTable) -> bool:
    """Return whether a table is split into chunks; the same in each query of one snapshot."""
    if not is_chunked(table.columns, table.primary_key):
        return False
    paying = table.size_bytes // _LEAST_BYTES_OF_A_CHUNK
    limit = min(max(_ALWAYS_CHUNKS, paying), _MOST_CHUNKS)
    if _span(connection, table) <= limit:
        return True
    return int(scalar(connection, _chunks_up_to(table, limit + 1))) <= limit


def _span(connection: Connection, table: ExportedTable) -> int:
    """Return the number of chunks from the first key to the last one."""
    key = sql.Identifier("t", table.primary_key[0])
    query = sql.SQL("SELECT {last} - {first} + 1 FROM {rows} AS t").format(
        last=chunk_index(sql.SQL("max({})").format(key)),
        first=chunk_index(sql.SQL("min({})").format(key)),
        rows=table.rows,
    )
    return int(scalar(connection, query) or 0)


def _chunks_up_to(table: ExportedTable, limit: int) -> sql.Composed:
    """Return the query that counts the chunks with rows, each found in the index of the key."""
    key = sql.Identifier("t", table.primary_key[0])
    return sql.SQL(
        "WITH RECURSIVE found (number) AS"
        " ((SELECT {number} FROM {rows} AS t ORDER BY {key} LIMIT 1)"
        " UNION ALL SELECT (SELECT {number} FROM {rows} AS t WHERE {key} >= {next} ORDER BY {key}"
        " LIMIT 1) FROM found AS f WHERE f.number < {last})"
        " SELECT pg_catalog.count(c.number) FROM (SELECT number FROM found LIMIT {limit}) AS c"
    ).format(
        number=chunk_index(key),
        rows=table.rows,
        key=key,
        next=key_at(sql.SQL("(f.number + 1)"), sql.SQL("0")),
        last=sql.Literal(_LAST_CHUNK),
        limit=sql.Literal(limit),
    )
