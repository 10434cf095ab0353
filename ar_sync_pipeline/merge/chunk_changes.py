"""Chunks that an archive carries as changes: the rows written since its base, and absent keys.

A change is applied only if it leads from the receiver's rows to exactly the content that the
manifest describes. Digests are sums, so this is known before anything is written, without reading
the other rows: the digests of replaced and absent rows are subtracted, those of the rows in the
archive are added.
"""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.merge.held_content import held_digest_source
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.postgres.chunk_ranges import number_of
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import ChunkDigest, chunk_index, is_chunked, row_digest


def unconfirmed_changes(connection: Connection, staged: StagedTable) -> frozenset[str]:
    """Return the members of staged changes that do not lead to the content in the manifest."""
    changes = {chunk.member: chunk for chunk in staged.changes}
    if not changes:
        return frozenset()
    target = staged.target
    alike = target.key == staged.manifest.primary_key and is_chunked(target.columns, target.key)
    if not (alike and staged.has_every_column):
        return frozenset(changes)
    found = connection.execute(_outcome(connection, staged)).fetchall()
    difference = {index: (rows, digest) for index, rows, digest in found}
    unconfirmed = set[str]()
    for member, chunk in changes.items():
        held = staged.held.get(member, ChunkDigest(0, "0"))
        rows, digest = difference.get(number_of(chunk), (0, 0))
        outcome = ChunkDigest(held.row_count + rows, str(int(held.digest) + int(digest)))
        if outcome != ChunkDigest.of(chunk):
            unconfirmed.add(member)
    return frozenset(unconfirmed)


def absent_rows_of_changes(staged: StagedTable) -> sql.Composed:
    """Return identities of the target's rows whose keys are absent in a changed chunk."""
    target = staged.target
    return sql.SQL("SELECT {} FROM {} WHERE NOT EXISTS (SELECT FROM {} AS n WHERE {})").format(
        target.identity.values("t"),
        _absent(staged, sql.SQL("{} AS t").format(target.rows), sql.SQL("t.*")),
        staged.relation,
        target.same_row("t", "n"),
    )


def _outcome(connection: Connection, staged: StagedTable) -> sql.Composed:
    """Return the query for what the changes add to the rows and the digest of each chunk."""
    target = staged.target
    source, values = held_digest_source(target)
    held = sql.SQL("{}, -1, -({}::numeric)").format(
        chunk_index(sql.Identifier("t", target.key[0])),
        row_digest(connection, target.columns, values, alias="t"),
    )
    return sql.SQL(
        "SELECT number, sum(rows), sum(digest) FROM ("
        "SELECT {here}, 1, {sent}::numeric FROM {stage} AS n WHERE {here} = ANY ({numbers})"
        " UNION ALL SELECT {held} FROM {source} JOIN {stage} AS n ON {same}"
        " WHERE {here} = ANY ({numbers})"
        " UNION ALL SELECT t.* FROM {absent}"
        ") AS d (number, rows, digest) GROUP BY number"
    ).format(
        here=chunk_index(sql.Identifier("n", target.key[0])),
        sent=row_digest(connection, target.columns, alias="n"),
        held=held,
        stage=staged.relation,
        source=source,
        same=target.same_row("t", "n"),
        numbers=_numbers(staged),
        absent=_absent(staged, source, held),
    )


def _absent(staged: StagedTable, source: sql.Composable, columns: sql.Composable) -> sql.Composed:
    """Return the rows of a source ``t`` whose keys are absent in a changed chunk, as ``t``.

    The planner expects many rows in a range, of which most have few. OFFSET keeps it from reading
    the whole table first, to compare each row with each range.
    """
    if staged.absent_keys is None:
        raise AssertionError
    key = sql.Identifier("t", staged.target.key[0])
    return sql.SQL(
        "{} AS a CROSS JOIN LATERAL (SELECT {} FROM {}"
        " WHERE {} >= a.first_key AND {} <= a.last_key AND {} = ANY ({}) OFFSET 0) AS t"
    ).format(staged.absent_keys, columns, source, key, key, chunk_index(key), _numbers(staged))


def _numbers(staged: StagedTable) -> sql.Composed:
    """Return the numbers of the changed chunks, as an array."""
    return sql.SQL("{}::bigint[]").format(sql.Literal([number_of(c) for c in staged.changes]))
