"""Tables of which the receiver has the chunks of an earlier archive.

Row versions show what was written since that archive's snapshot. A chunk is unchanged if it has as
many rows as then and no newer row version, because every older row version that is visible now was
visible then. So it need not be read again. A chunk with few newer rows can be carried as a change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ar_sync_pipeline.archive.chunk_member import ChunkWriter
from ar_sync_pipeline.archive.manifest import Chunk, KeyRange, Watermark
from ar_sync_pipeline.archive.member_names import ABSENT_KEYS
from ar_sync_pipeline.export.chunk_totals import CountedChunk, count_chunks, digest_chunks
from ar_sync_pipeline.export.readable_values import readable
from ar_sync_pipeline.export.table_export import (
    ChunkQuery,
    absent_keys_query,
    changes_query,
    chunk_query,
    chunk_whole_table,
)
from ar_sync_pipeline.postgres.chunk_ranges import number_at, range_of
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.copy_stream import copy_out
from ar_sync_pipeline.postgres.digest import ChunkDigest
from ar_sync_pipeline.postgres.exported_table import ExportedTable

# Each member and its description take about a kilobyte.
_LEAST_ROWS = 1_000


@dataclass(frozen=True)
class HeldTable:
    """What the receiver has of a table.

    Attributes:
        chunks: Chunks of the earlier archive, by their key range.
        since: Point of that archive; None: row versions of this table do not show what was written
            since then.
        in_changes: Whether chunks may be carried as changes.
        digests_all: Whether digests of all chunks are computed, also of those that are unchanged by
            their row versions.
    """

    chunks: Mapping[KeyRange | None, Chunk]
    since: Watermark | None = None
    in_changes: bool = False
    digests_all: bool = True


@dataclass(frozen=True)
class ComparedChunk(ChunkQuery):
    """A chunk to read, and what the receiver has of it.

    Attributes:
        held: Chunk of the earlier archive; None: the receiver does not have it.
        counted: What row versions show of it; None: they are not used.
    """

    held: Chunk | None = None
    counted: CountedChunk | None = None

    @property
    def is_held(self) -> bool:
        """Whether the receiver has exactly these rows."""
        return self.held is not None and ChunkDigest.of(self.held) == self.content

    @property
    def is_misjudged(self) -> bool:
        """Whether the rows differ although their versions say that none does."""
        return not self.is_held and _is_unchanged(self.held, self.counted)

    @property
    def is_worth_a_change(self) -> bool:
        """Whether the changed rows and the absent keys are smaller than half of the chunk.

        A range of absent keys is counted as a quarter of a row.
        """
        if self.held is None or self.counted is None or self.is_misjudged:
            return False
        ranges = self.counted.most_absent_ranges
        return ranges is not None and _pays(self.counted, ranges)


def compare_with_held(
    connection: Connection, table: ExportedTable, held: HeldTable
) -> list[ComparedChunk]:
    """Split a table into chunks, and compare each with what the receiver has of it.

    Raises:
        SchemaError: A value cannot be read.
    """
    if held.since is None:
        queries = chunk_whole_table(connection, table)
        return [_compared(one, held.chunks.get(one.key_range)) for one in queries]
    counted = count_chunks(connection, table, held.since)
    chunks = {n: held.chunks.get(None if n is None else range_of(n)) for n in counted}
    unchanged = {
        number: ChunkDigest.of(chunk)
        for number, chunk in chunks.items()
        if chunk is not None and _is_unchanged(chunk, counted[number])
    }
    contents = {} if held.digests_all else unchanged
    if unknown := counted.keys() - contents.keys():
        contents = contents | digest_chunks(connection, table, unknown)
    return [
        _compared(chunk_query(connection, table, n, contents[n]), chunks[n], one)
        for n, one in counted.items()
    ]


def chunks_written_since(
    point: Watermark, chunks: Sequence[ChunkQuery], held: HeldTable | None
) -> frozenset[int | None] | None:
    """Return the numbers of the chunks that may have rows written since a point; None: all may.

    Row versions are counted since the base, so they say this of the base and of later points.
    """
    if held is None or held.since is None or point.snapshot_at < held.since.snapshot_at:
        return None
    return frozenset(
        None if chunk.key_range is None else number_at(chunk.key_range)
        for chunk in chunks
        if not isinstance(chunk, ComparedChunk) or chunk.counted is None or chunk.counted.new_rows
    )


def write_change(
    connection: Connection,
    folder: Path,
    table: ExportedTable,
    number: int,
    chunk: ComparedChunk,
    since: Watermark,
) -> Chunk:
    """Write the rows of a chunk that are newer than a point to a new member.

    Raises:
        SchemaError: A value cannot be read.
    """
    content, key_range = chunk.content, chunk.key_range
    if content is None or key_range is None:
        raise AssertionError
    query = changes_query(table, key_range, since)
    with readable(table.name), ChunkWriter(folder, table.name, number) as writer:
        rows = copy_out(connection, query, writer)
        written = writer.finish(
            row_count=content.row_count, digest=content.digest, key_range=key_range
        )
    return written.model_copy(update={"changed_rows": rows})


def write_absent_keys(
    connection: Connection, folder: Path, table: ExportedTable, chunks: Sequence[Chunk]
) -> Chunk | None:
    """Write the ranges of keys that no row of the changed chunks has; None if there are none."""
    ranges = [chunk.key_range for chunk in chunks if chunk.is_change and chunk.key_range]
    if not ranges:
        return None
    query = absent_keys_query(table, [number_at(one) for one in ranges])
    with readable(table.name), ChunkWriter(folder, table.name, ABSENT_KEYS) as writer:
        rows = copy_out(connection, query, writer)
        return writer.finish(row_count=rows, digest="0", key_range=None)


def _compared(
    query: ChunkQuery, held: Chunk | None, counted: CountedChunk | None = None
) -> ComparedChunk:
    return ComparedChunk(query.key_range, query.content, query.query, held, counted)


def _is_unchanged(held: Chunk | None, counted: CountedChunk | None) -> bool:
    """Return whether row versions show that a chunk has the rows that it had before."""
    if held is None or counted is None:
        return False
    return counted.new_rows == 0 and counted.row_count == held.row_count


def _pays(counted: CountedChunk, absent_ranges: int) -> bool:
    is_large = counted.row_count >= _LEAST_ROWS
    return is_large and 4 * counted.new_rows + absent_ranges < 2 * counted.row_count
