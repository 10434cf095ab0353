"""After a merge: the receiver's rows must have the digests that the archive declares."""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Chunk
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import ChunkDigest, digest_of
from ar_sync_pipeline.postgres.errors import DigestMismatchError
from ar_sync_pipeline.postgres.staging import StagedTable, held_digest_source
from ar_sync_pipeline.postgres.target_table import equal_keys


def verify_merged(connection: Connection, staged: StagedTable) -> None:
    """Compare the rows of every chunk that was staged with the archive, inside the transaction.

    Raises:
        DigestMismatchError: they differ; the caller's transaction must not commit.
    """
    for chunk in staged.differing:
        held = _held(connection, staged, chunk)
        if held != ChunkDigest(chunk.row_count, chunk.digest):
            raise DigestMismatchError(
                f"after the load {chunk.member} is not what the receiver holds"
                f" ({held.row_count} rows instead of {chunk.row_count}, or other content)",
                remedy="nothing was changed; look for a trigger or rule on"
                f" {staged.target.name} that alters what is written",
            )


def _held(connection: Connection, staged: StagedTable, chunk: Chunk) -> ChunkDigest:
    target = staged.target
    source, values = held_digest_source(target)
    query = sql.SQL("SELECT count(*), {} FROM {}").format(
        digest_of(target.columns, values, alias="t"), source
    )
    if chunk.key_range is not None:
        key = sql.Identifier("t", target.primary_key[0])
        query = sql.SQL("{} WHERE {} >= {} AND {} < {}").format(
            query, key, sql.Literal(chunk.key_range.low), key, sql.Literal(chunk.key_range.high)
        )
    elif not staged.complete:
        query = sql.SQL("{} JOIN {} AS n ON {}").format(
            query, staged.relation, equal_keys("n", "t", target.primary_key)
        )
    row = connection.execute(query).fetchone()
    return ChunkDigest(row[0], str(row[1])) if row else ChunkDigest(0, "0")
