"""After a merge: the receiver's rows must be the archive's, before the transaction commits."""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Chunk
from ar_sync_pipeline.merge.differences import count_differences
from ar_sync_pipeline.merge.staging import StagedTable, held_digest_source
from ar_sync_pipeline.merge.target_table import equal_keys
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import ChunkDigest, digest_of
from ar_sync_pipeline.postgres.errors import DigestMismatchError


def verify_digests(connection: Connection, staged: StagedTable) -> None:
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


def verify_row_count(connection: Connection, staged: StagedTable) -> None:
    """After a complete, a table has as many rows as the sender's; settled chunks included.

    Raises:
        DigestMismatchError: it has not; the caller's transaction must not commit.
    """
    if not staged.complete:
        return
    query = sql.SQL("SELECT count(*) FROM {}").format(staged.target.relation)
    row = connection.execute(query).fetchone()
    if row is not None and row[0] != staged.manifest.row_count:
        raise DigestMismatchError(
            f"after the load {staged.target.name} has {row[0]} rows instead of"
            f" {staged.manifest.row_count}",
            remedy="nothing was changed; look for whoever else writes to the table",
        )


def verify_rows(connection: Connection, staged: StagedTable) -> None:
    """Compare row by row with what was staged, where the two servers' digests do not agree.

    Raises:
        DigestMismatchError: they differ; the caller's transaction must not commit.
    """
    different = count_differences(connection, staged)
    if different:
        raise DigestMismatchError(
            f"after the load {different} rows of {staged.target.name} are not the archive's",
            remedy="nothing was changed; look for a trigger or rule on the table that alters"
            " what is written",
        )


def _held(connection: Connection, staged: StagedTable, chunk: Chunk) -> ChunkDigest:
    target = staged.target
    source, values = held_digest_source(target)
    query = sql.SQL("SELECT count(*), {} FROM {}").format(
        digest_of(connection, target.columns, values, alias="t"), source
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
