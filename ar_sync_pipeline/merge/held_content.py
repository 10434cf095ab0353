"""What the receiver has of the chunks of an archive, by digests."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from ar_sync_pipeline.archive.manifest import TableManifest
from ar_sync_pipeline.merge.source_values import digested_value, same_source
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.chunk_ranges import number_of
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import (
    ChunkDigest,
    chunk_index,
    digest_of_rows,
    is_chunked,
    row_digest,
)
from ar_sync_pipeline.postgres.session_settings import parallel_workers


def unchanged_chunks(
    connection: Connection, target: TargetTable, manifest: TableManifest
) -> frozenset[str]:
    """Return the members of the chunks whose rows the receiver already has, to the bit."""
    return equal_chunks(manifest, held_chunks(connection, target, manifest))


def equal_chunks(manifest: TableManifest, held: Mapping[str, ChunkDigest]) -> frozenset[str]:
    """Return the members of the chunks whose content is that of `held_chunks`."""
    return frozenset(c.member for c in manifest.chunks if held.get(c.member) == ChunkDigest.of(c))


def held_chunks(
    connection: Connection, target: TargetTable, manifest: TableManifest
) -> dict[str, ChunkDigest]:
    """Return the receiver's content of each chunk of an archive, by member, if it has rows."""
    if not manifest.chunks:
        return {}
    held = _held_digests(connection, target, by_key=manifest.chunks[0].key_range is not None)
    return {c.member: held[number_of(c)] for c in manifest.chunks if number_of(c) in held}


def holds_exactly(connection: Connection, target: TargetTable, manifest: TableManifest) -> bool:
    """Return whether a table without transformed columns has exactly the rows of an archive."""
    held = _held_digests(connection, target, by_key=manifest.chunks[0].key_range is not None)
    return held == {number_of(chunk): ChunkDigest.of(chunk) for chunk in manifest.chunks}


def held_digest_source(target: TargetTable) -> tuple[sql.Composed, dict[str, sql.Composable]]:
    """Return the relation to digest, as ``t``, and what to read for transformed columns.

    A row without stored source values is left out, so that its chunk counts as different and the
    load stores them.
    """
    source = sql.SQL("{} AS t").format(target.rows)
    if not target.transformed:
        return source, {}
    joined = sql.SQL("{} JOIN {} AS s ON {}").format(
        source, target.source_values, same_source(target, "t", "s")
    )
    return joined, {name: digested_value(target, name, "s") for name in target.transformed}


def _held_digests(
    connection: Connection, target: TargetTable, *, by_key: bool
) -> dict[int | None, ChunkDigest]:
    """Return the content of each chunk, by one scan, by parallel workers if the server has some."""
    by_chunk = by_key and is_chunked(target.columns, target.key)
    query = _digests_by_chunk(connection, target) if by_chunk else _digest(connection, target)
    with parallel_workers(connection):
        rows = connection.execute(query).fetchall()
    return {index: ChunkDigest(count, str(value)) for index, count, value in rows}


def _digest(connection: Connection, target: TargetTable) -> sql.Composed:
    source, values = held_digest_source(target)
    one = row_digest(connection, target.columns, values, alias="t")
    return sql.SQL("SELECT NULL, count(*), {} FROM {}").format(digest_of_rows(one), source)


def _digests_by_chunk(connection: Connection, target: TargetTable) -> sql.Composed:
    """Return the query of the digests by chunk.

    OFFSET NULL keeps the subquery apart: else the planner expects as many chunks as keys, and its
    parallel workers hand over every row instead of their sums.
    """
    source, values = held_digest_source(target)
    return sql.SQL(
        "SELECT index, count(*), {digest} FROM"
        " (SELECT {index} AS index, {one} AS digest FROM {source} OFFSET NULL) AS r GROUP BY index"
    ).format(
        digest=digest_of_rows(sql.Identifier("r", "digest")),
        index=chunk_index(sql.Identifier("t", target.key[0])),
        one=row_digest(connection, target.columns, values, alias="t"),
        source=source,
    )
