"""Verification after a merge: before the commit, the receiver's rows must equal the archive's."""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Chunk
from ar_sync_pipeline.merge.differences import count_differences
from ar_sync_pipeline.merge.errors import GRANT, VERIFY
from ar_sync_pipeline.merge.held_content import held_digest_source, holds_exactly
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import ChunkDigest, digest_of
from ar_sync_pipeline.postgres.errors import DigestMismatchError, SchemaError, SchemaMismatchError
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.session_settings import parallel_workers
from ar_sync_pipeline.visible_text import counted


def verify_table(
    connection: Connection,
    staged: StagedTable,
    spared: sql.Identifier | None = None,
    *,
    comparable: bool,
) -> None:
    """Compare a table with the archive, by digests if both servers compute the same ones.

    Args:
        spared: Identities of rows that the archive lacks and that stay; None: there are none.

    Raises:
        DigestMismatchError: They differ; the caller's transaction must not commit.
        SchemaError: The archive's own rows differ from its manifest.
        SchemaMismatchError: The rows name objects of the sender's database.
    """
    if staged.direct and holds_exactly(connection, staged.target, staged.manifest):
        return
    if comparable and staged.has_every_column:
        _verify_digests(connection, staged, spared)
    else:
        _verify_rows(connection, staged)
    _verify_row_count(connection, staged, spared)


def _verify_digests(
    connection: Connection, staged: StagedTable, spared: sql.Identifier | None
) -> None:
    for chunk in staged.differing:
        if chunk.member in staged.unverified:
            continue
        held = _held(connection, staged, chunk, spared)
        if held == ChunkDigest.of(chunk):
            continue
        if not chunk.is_change and _staged(connection, staged, chunk) != ChunkDigest.of(chunk):
            columns = staged.target.facts.columns
            numbers = [
                c.name for c in columns if c.catalog_types and c.name in staged.target.shared
            ]
            if numbers:
                raise _meaning_differs(staged, numbers)
            raise SchemaError(
                f"the rows of {chunk.member} are not those that its manifest describes",
                remedy=VERIFY,
            )
        raise DigestMismatchError(
            f"after the load {chunk.member} differs from the receiver's rows"
            f" ({counted(held.row_count, 'row')} instead of {chunk.row_count}, or other content)",
            remedy=_remedy(staged),
        )


def _meaning_differs(staged: StagedTable, columns: list[str]) -> SchemaMismatchError:
    name = staged.target.name
    return SchemaMismatchError(
        f"values of {name} ({', '.join(columns)}) contain object ids, which differ between the"
        " servers",
        remedy="keep names in a text column, or name the columns in `receiver_columns` of"
        f" {name} in the catalog of both sides; the archive is then tried again by itself",
    )


def _verify_row_count(
    connection: Connection, staged: StagedTable, spared: sql.Identifier | None
) -> None:
    """Check the row count of a table with all rows; it includes unchanged chunks."""
    unverified = [c for c in staged.manifest.chunks if c.member in staged.unverified]
    if not staged.speaks_for_all_rows or any(c.key_range is None for c in unverified):
        return
    others = sql.SQL("").join(
        sql.SQL(" AND NOT ({})").format(_in_range(staged, chunk)) for chunk in unverified
    )
    query = sql.SQL("SELECT count(*) FROM {} AS t WHERE {}{}").format(
        staged.target.rows, _not_spared(staged, spared), others
    )
    expected = staged.manifest.row_count - sum(chunk.row_count for chunk in unverified)
    with parallel_workers(connection):
        found = scalar(connection, query)
    if found != expected:
        raise DigestMismatchError(
            f"after the load {staged.target.name} has {counted(found, 'row')} instead of"
            f" {expected}",
            remedy=_remedy(staged),
        )


def _verify_rows(connection: Connection, staged: StagedTable) -> None:
    """Compare the table with the staged rows, row by row."""
    different = count_differences(connection, staged)
    if different:
        raise DigestMismatchError(
            f"after the load {different} rows of {staged.target.name} are not the archive's",
            remedy=_remedy(staged),
        )


def _remedy(staged: StagedTable) -> str:
    triggers = ", ".join(staged.target.facts.triggers[:5])
    named = f" ({triggers})" if triggers else ""
    return (
        f"nothing was changed; look for a trigger{named} or rule on {staged.target.name} that"
        f" alters what is written: ALTER TABLE ... ENABLE TRIGGER where it is ENABLE ALWAYS, and"
        f" {GRANT}, so that it does not fire; or look for somebody else who writes to the table"
    )


def _held(
    connection: Connection, staged: StagedTable, chunk: Chunk, spared: sql.Identifier | None
) -> ChunkDigest:
    target = staged.target
    source, values = held_digest_source(target)
    query = sql.SQL("SELECT count(*), {} FROM {}").format(
        digest_of(connection, target.columns, values), source
    )
    if not staged.speaks_for_all_rows:
        query = sql.SQL("{} JOIN {} AS n ON {}").format(
            query, staged.relation, target.same_row("t", "n")
        )
    query = sql.SQL("{} WHERE {} AND {}").format(
        query, _in_range(staged, chunk), _not_spared(staged, spared)
    )
    return _digest(connection, query)


def _staged(connection: Connection, staged: StagedTable, chunk: Chunk) -> ChunkDigest:
    """Return the digest of the archive's own rows."""
    query = sql.SQL("SELECT count(*), {} FROM {} AS t").format(
        digest_of(connection, staged.manifest.columns), staged.relation
    )
    if chunk.key_range is not None:
        query = sql.SQL("{} WHERE {}").format(query, _in_range(staged, chunk))
    return _digest(connection, query)


def _in_range(staged: StagedTable, chunk: Chunk) -> sql.Composable:
    if chunk.key_range is None:
        return sql.SQL("true")
    key = sql.Identifier("t", staged.target.key[0])
    return sql.SQL("{} >= {} AND {} < {}").format(
        key, sql.Literal(chunk.key_range.low), key, sql.Literal(chunk.key_range.high)
    )


def _not_spared(staged: StagedTable, spared: sql.Identifier | None) -> sql.Composable:
    if spared is None:
        return sql.SQL("true")
    return sql.SQL("NOT {}").format(staged.target.identity.is_in("t", spared))


def _digest(connection: Connection, query: sql.Composed) -> ChunkDigest:
    ((row_count, digest),) = connection.execute(query).fetchall()
    return ChunkDigest(row_count, str(digest))
