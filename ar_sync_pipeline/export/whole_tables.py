"""Every row of some tables, written by several sessions of one snapshot in parallel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from ar_sync_pipeline.archive.chunk_member import ChunkWriter
from ar_sync_pipeline.archive.manifest import Chunk, Watermark
from ar_sync_pipeline.archive.member_names import CHANGED_KEYS, table_member_path
from ar_sync_pipeline.export.held_tables import (
    ComparedChunk,
    HeldTable,
    chunks_written_since,
    compare_with_held,
    write_absent_keys,
    write_change,
)
from ar_sync_pipeline.export.readable_values import readable
from ar_sync_pipeline.export.table_export import (
    ChunkQuery,
    are_masks_remembered,
    changed_keys_query,
    chunk_whole_table,
    write_chunk,
)
from ar_sync_pipeline.postgres.connect import Connection, cancel_statement
from ar_sync_pipeline.postgres.copy_stream import copy_out
from ar_sync_pipeline.postgres.exported_table import ExportedTable

_CANCEL_AGAIN_SECONDS = 0.2

Work = TypeVar("Work")
Result = TypeVar("Result")


@dataclass(frozen=True)
class WrittenTable:
    """The members that contain a table's rows.

    Attributes:
        changed_keys: Member with the keys of rows that were written since a point.
        absent_keys: Member with the ranges of keys that no row of the changed chunks has.
        misjudged: Number of chunks whose rows differ although their versions say that none does.
    """

    chunks: tuple[Chunk, ...]
    changed_keys: Chunk | None = None
    absent_keys: Chunk | None = None
    misjudged: int = 0


@dataclass(frozen=True)
class WholeTables:
    """Writes tables whole.

    Attributes:
        connections: Sessions of one snapshot; each is used by one thread at a time.
        folder: Folder of the members.
        since: Point that the receiver is known to have; the keys of rows that were written since
            then are exported too.
        redefined: Tables whose rows are exported differently than before, so that no keys are
            exported.
        held: What the receiver has of tables. An equal chunk is not written.
    """

    connections: Sequence[Connection]
    folder: Path
    since: Watermark | None
    redefined: frozenset[str]
    held: Mapping[str, HeldTable]

    def write(self, tables: Sequence[ExportedTable]) -> Mapping[str, WrittenTable]:
        """Write every row of the tables; with large ``tables`` first, all sessions stay busy.

        Raises:
            SchemaError: A value cannot be read.
        """
        cuts = self._share(
            lambda connection, table: split_table(connection, table, self.held.get(table.name)),
            tables,
        )
        work = [
            (table, number, chunk)
            for table, chunks in zip(tables, cuts, strict=True)
            for number, chunk in enumerate(chunks)
        ]
        written: dict[str, list[Chunk]] = {table.name: [] for table in tables}
        for (table, _, _), chunk in zip(work, self._share(self._write, work), strict=True):
            written[table.name].append(chunk)
        keys = self._share(self._write_changed_keys, zip(tables, cuts, strict=True))
        absent = self._share(
            lambda connection, table: write_absent_keys(
                connection, self.folder, table, written[table.name]
            ),
            tables,
        )
        return {
            table.name: WrittenTable(
                tuple(written[table.name]),
                changed,
                gone,
                sum(isinstance(c, ComparedChunk) and c.is_misjudged for c in chunks),
            )
            for table, chunks, changed, gone in zip(tables, cuts, keys, absent, strict=True)
        }

    def _share(
        self, do: Callable[[Connection, Work], Result], work: Iterable[Work]
    ) -> list[Result]:
        """Run each task on an idle session; an error or interrupt cancels the others."""
        idle: SimpleQueue[Connection] = SimpleQueue()
        for connection in self.connections:
            idle.put(connection)

        here = copy_context()

        def on_idle_session(work: Work) -> Result:
            connection = idle.get()
            try:
                return here.copy().run(do, connection, work)
            finally:
                idle.put(connection)

        with ThreadPoolExecutor(len(self.connections), thread_name_prefix="dump") as pool:
            try:
                return list(pool.map(on_idle_session, work))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._cancel_until(lambda: idle.qsize() == len(self.connections))
                raise

    def _cancel_until(self, all_are_idle: Callable[[], bool]) -> None:
        """Cancel the statements: production waits for the locks of their sessions."""
        while not all_are_idle():
            for connection in self.connections:
                cancel_statement(connection)
            # A worker may be between two statements.
            time.sleep(_CANCEL_AGAIN_SECONDS)

    def _write(self, connection: Connection, work: tuple[ExportedTable, int, ChunkQuery]) -> Chunk:
        table, number, chunk = work
        held = self.held.get(table.name)
        if held is not None and isinstance(chunk, ComparedChunk):
            if chunk.held is not None and chunk.is_held:
                return chunk.held.not_carried(table_member_path(table.name, number))
            if held.since and held.in_changes and chunk.is_worth_a_change:
                return write_change(connection, self.folder, table, number, chunk, held.since)
        return write_chunk(connection, self.folder, table, number, chunk)

    def _write_changed_keys(
        self, connection: Connection, work: tuple[ExportedTable, Sequence[ChunkQuery]]
    ) -> Chunk | None:
        table, chunks = work
        if self.since is None or not table.primary_key or table.name in self.redefined:
            return None
        numbers = chunks_written_since(self.since, chunks, self.held.get(table.name))
        query = changed_keys_query(table, self.since, numbers)
        with readable(table.name), ChunkWriter(self.folder, table.name, CHANGED_KEYS) as writer:
            rows = copy_out(connection, query, writer)
            return writer.finish(row_count=rows, digest="0", key_range=None)


def split_table(
    connection: Connection, table: ExportedTable, held: HeldTable | None
) -> Sequence[ChunkQuery]:
    """Split a table into chunks, in the way that is faster for it.

    Expensive masked values are computed once, for the row and for its digest. Other rows are
    digested faster by one sequential read than while they are copied.

    Args:
        held: What the receiver has of it. Digests are then needed first, since equal chunks are not
            copied.
    """
    if held is not None:
        return compare_with_held(connection, table, held)
    digested = are_masks_remembered(connection, table)
    return chunk_whole_table(connection, table, digested=digested)
