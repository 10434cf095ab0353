"""The first step of a dump: every table's rows, from one snapshot, into members of an archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import SimpleQueue

from pydantic import BaseModel, ConfigDict

from ar_sync_pipeline.archive.chunk_member import ChunkWriter
from ar_sync_pipeline.archive.manifest import (
    Chunk,
    Column,
    TableManifest,
    TypeDefinition,
    Watermark,
    Window,
)
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.export.media_references import media_references
from ar_sync_pipeline.export.selection import (
    Selection,
    blind_tables,
    prepare_keys,
    reads_watermark,
    select_rows,
    unseen_by,
)
from ar_sync_pipeline.export.snapshot import Snapshot, join_snapshot, take_snapshot
from ar_sync_pipeline.export.table_export import (
    ChunkQuery,
    changed_keys_query,
    chunk_selected_rows,
    chunk_whole_table,
)
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.copy_stream import copy_out
from ar_sync_pipeline.postgres.digest import probe_digest
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError, SchemaError
from ar_sync_pipeline.postgres.findings import errors_of, refuse
from ar_sync_pipeline.postgres.omissions import find_omissions
from ar_sync_pipeline.postgres.schema_facts import (
    read_migrations,
    read_tables,
    schema_fingerprint,
)
from ar_sync_pipeline.postgres.shipped_table import ShippedTable, read_sequences, ship
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.postgres.type_facts import read_types
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder, clean_members
from ar_sync_pipeline.sync.dump.scratch import room_for
from ar_sync_pipeline.sync.stopwatch import Stopwatch

_HALF_OF_ALL_IDS = 2**31


@dataclass(frozen=True)
class PartialRequest:
    """What a partial is asked for.

    Attributes:
        window: the window, or the range of missed windows, that the archive answers.
        look_back: TIME: how far before the window's end rows count as changed.
        since: the newest point that the receiver is known to have; None: the window alone counts.
        after: the newest snapshot that was taken before this one.
    """

    window: Window
    look_back: timedelta
    since: Watermark | None
    after: datetime | None = None

    @property
    def changed_at(self) -> Window:
        """The interval of ``changed_at`` that is read: never less than the window."""
        start = min(self.window.start, self.window.end - self.look_back)
        return Window(start=start, end=self.window.end)


class TableDump(BaseModel):
    """What the first step of a dump found: all of a manifest but the media.

    Attributes:
        window: of a partial; None in a complete.
        since: the point behind which a partial carries every change; in a complete the point
            that the receiver is known to have.
        media_references: names of media files in the dumped rows of a partial.
        blind_tables: tables of which a partial may miss changes until the next complete.
        types: of these columns.
        references: the foreign keys of the replicated tables.
        columns: that travel, of every table that does, also where no row of it came along.
        seconds: by phase: snapshot, selection (of a partial), tables.
    """

    model_config = ConfigDict(frozen=True)

    window: Window | None
    since: Watermark | None
    watermark: Watermark
    database: str
    digest_probe: str
    migrations: tuple[str, ...]
    schema_fingerprint: str
    tables: tuple[TableManifest, ...]
    media_references: tuple[str, ...] = ()
    blind_tables: tuple[str, ...] = ()
    columns: dict[str, tuple[Column, ...]] = {}
    types: tuple[TypeDefinition, ...] = ()
    references: tuple[str, ...] = ()
    seconds: dict[str, float] = {}


def dump_complete(
    url: str,
    catalog: Catalog,
    build: BuildFolder,
    clock: Clock,
    *,
    since: Watermark | None = None,
    after: datetime | None = None,
) -> TableDump:
    """Write every row of every table of the catalog.

    Two connections read the same snapshot side by side, the largest tables first.

    Args:
        since: a point that the receiver is known to have; the keys of the rows that were written
            since then come along, so that it can tell what partials missed.
        after: the newest snapshot that was taken before this one.

    Raises:
        DatabaseUnreachableError: the database is not there.
        DatabaseRefusedError: it refuses the connection.
        SchemaError: a table cannot be copied.
        ScratchFullError: the disk of the build folder filled up.
    """
    watch = Stopwatch()
    clean_members(build)
    with room_for(build), connect(url, application="dump") as connection:
        tables = travelling_tables(connection, catalog)
        with take_snapshot(connection, clock, after=after) as snapshot:
            watch.lap("snapshot")
            since = comparable(since, snapshot.watermark)
            export = _Export(
                build, {n: shipped_table(catalog, f) for n, f in tables.items()}, since
            )
            manifests = export.run(url, snapshot, tables)
            watch.lap("tables")
            dump = _finish(snapshot, catalog, tables, manifests, since)
    dump = dump.model_copy(update={"seconds": watch.seconds})
    build.save(dump)
    return dump


def dump_partial(
    url: str, catalog: Catalog, build: BuildFolder, clock: Clock, request: PartialRequest
) -> TableDump:
    """Write what changed in a window or since a watermark, and all that it refers to.

    Raises:
        DatabaseUnreachableError: the database is not there.
        DatabaseRefusedError: it refuses the connection.
        SchemaError: a table cannot be copied, or the catalog names a column that is not there.
        ScratchFullError: the disk of the build folder filled up.
    """
    watch = Stopwatch()
    clean_members(build)
    with room_for(build), connect(url, application="dump") as connection:
        tables = travelling_tables(connection, catalog)
        keys = prepare_keys(connection, tables)
        with take_snapshot(connection, clock, after=request.after) as snapshot:
            watch.lap("snapshot")
            since = comparable(request.since, snapshot.watermark)
            selection = Selection(request.changed_at, since, request.look_back)
            select_rows(connection, catalog, tables, keys, selection)
            watch.lap("selection")
            manifests, references = [], set[str]()
            for name, facts in tables.items():
                table = shipped_table(catalog, facts)
                chunks = chunk_selected_rows(connection, table, keys[name])
                if chunks:
                    written = [_write(connection, build, table, n, c) for n, c in enumerate(chunks)]
                    manifests.append(_manifest(connection, facts, table, written))
                    rules = catalog.rules(name)
                    references.update(media_references(connection, table, rules, keys[name]))
            dump = _finish(snapshot, catalog, tables, manifests, since)
    watch.lap("tables")
    dump = dump.model_copy(
        update={
            "window": request.window,
            "media_references": tuple(sorted(references)),
            "tables": tuple(
                table.model_copy(
                    update={
                        "covers_since": since is not None
                        and reads_watermark(catalog, tables[table.name])
                    }
                )
                for table in dump.tables
            ),
            "blind_tables": blind_tables(catalog, tables, since),
            "seconds": watch.seconds,
        }
    )
    build.save(dump)
    return dump


def travelling_tables(connection: Connection, catalog: Catalog) -> dict[str, TableFacts]:
    """The sender's tables that the catalog lets travel, by name.

    Raises:
        SchemaError: there are none, or the catalog names what cannot be replicated.
        DatabaseRefusedError: the role may not read some of them.
    """
    tables = read_tables(connection, catalog.schema_name, catalog.travels)
    refuse(errors_of(find_omissions(connection, catalog, tables)))
    if not tables:
        raise SchemaError(
            f"the database has no table that matches {', '.join(catalog.tables)}"
            f" in schema {catalog.schema_name}",
            remedy="check the database's name and AR_SYNC_CATALOG",
        )
    unreadable = sorted(name for name, facts in tables.items() if "SELECT" in facts.denied)
    if unreadable:
        raise DatabaseRefusedError(
            f"the sender's role may not read {', '.join(unreadable)}",
            remedy="run deploy/sql/sender_role.sql at the sender's database",
        )
    return tables


def comparable(since: Watermark | None, now: Watermark) -> Watermark | None:
    """The watermark, unless it belongs to another history or is too far back to compare.

    Transaction ids mean nothing in another cluster or timeline, and are compared modulo 2^32. A
    cluster that has seen fewer of them than the watermark was set back, as by a restored disk.
    """
    if since is None or (since.system_identifier, since.timeline) != (
        now.system_identifier,
        now.timeline,
    ):
        return None
    oldest, newest = _ends(since)
    reached = _ends(now)[1]
    return since if newest <= reached and reached - oldest < _HALF_OF_ALL_IDS else None


def _ends(watermark: Watermark) -> tuple[int, int]:
    """A snapshot's ``xmin`` and ``xmax``."""
    oldest, newest, _ = watermark.snapshot.split(":")
    return int(oldest), int(newest)


@dataclass(frozen=True)
class _Export:
    """Every row of some tables, written by two connections side by side."""

    build: BuildFolder
    shipped: Mapping[str, ShippedTable]
    since: Watermark | None

    def run(
        self, url: str, snapshot: Snapshot, tables: Mapping[str, TableFacts]
    ) -> list[TableManifest]:
        largest_first = sorted(tables, key=lambda name: -tables[name].size_bytes)
        with (
            join_snapshot(url, snapshot.exported) as helper,
            ThreadPoolExecutor(max_workers=2, thread_name_prefix="dump") as pool,
        ):
            idle: SimpleQueue[Connection] = SimpleQueue()
            for connection in (snapshot.connection, helper):
                idle.put(connection)

            def cut(name: str) -> list[ChunkQuery]:
                with _borrow(idle) as connection:
                    return chunk_whole_table(connection, self.shipped[name])

            def write(work: tuple[str, int, ChunkQuery]) -> Chunk:
                name, number, chunk = work
                with _borrow(idle) as connection:
                    return _write(connection, self.build, self.shipped[name], number, chunk)

            def write_keys(name: str) -> Chunk | None:
                with _borrow(idle) as connection:
                    return self._write_changed_keys(connection, name)

            cuts = dict(zip(largest_first, pool.map(cut, largest_first), strict=True))
            work = [
                (name, n, chunk) for name, chunks in cuts.items() for n, chunk in enumerate(chunks)
            ]
            written: dict[str, list[Chunk]] = {name: [] for name in tables}
            for (name, _, _), chunk in zip(work, pool.map(write, work), strict=True):
                written[name].append(chunk)
            keys = dict(zip(tables, pool.map(write_keys, tables), strict=True))
        return [
            _manifest(snapshot.connection, facts, self.shipped[name], written[name], keys[name])
            for name, facts in tables.items()
        ]

    def _write_changed_keys(self, connection: Connection, name: str) -> Chunk | None:
        if self.since is None:
            return None
        query = changed_keys_query(self.shipped[name], unseen_by(self.since))
        with ChunkWriter(self.build.members, name, None) as writer:
            rows = copy_out(connection, query, writer)
            return writer.finish(row_count=rows, digest="0", key_range=None)


@contextmanager
def _borrow(idle: SimpleQueue[Connection]) -> Iterator[Connection]:
    connection = idle.get()
    try:
        yield connection
    finally:
        idle.put(connection)


def shipped_table(catalog: Catalog, facts: TableFacts) -> ShippedTable:
    """A sender's table without the columns that the catalog gives to the receiver."""
    return ship(facts, catalog.rules(facts.name).receiver_columns)


def _write(
    connection: Connection, build: BuildFolder, table: ShippedTable, number: int, chunk: ChunkQuery
) -> Chunk:
    with ChunkWriter(build.members, table.name, number) as writer:
        rows = copy_out(connection, chunk.query, writer)
        return writer.finish(row_count=rows, digest=chunk.content.digest, key_range=chunk.key_range)


def _manifest(
    connection: Connection,
    facts: TableFacts,
    table: ShippedTable,
    chunks: Sequence[Chunk],
    changed_keys: Chunk | None = None,
) -> TableManifest:
    return TableManifest(
        name=table.name,
        columns=table.columns,
        primary_key=table.primary_key,
        row_count=sum(chunk.row_count for chunk in chunks),
        chunks=tuple(chunks),
        sequences=read_sequences(connection, facts),
        changed_keys=changed_keys,
        unique_keys=tuple(sorted({u.definition for u in facts.unique_keys if u.valid})),
    )


def _finish(
    snapshot: Snapshot,
    catalog: Catalog,
    tables: Mapping[str, TableFacts],
    manifests: Sequence[TableManifest],
    since: Watermark | None,
) -> TableDump:
    connection = snapshot.connection
    return TableDump(
        window=None,
        since=since,
        watermark=snapshot.watermark,
        database=snapshot.database,
        digest_probe=probe_digest(connection),
        migrations=read_migrations(connection, catalog.schema_name, catalog.django_app),
        schema_fingerprint=schema_fingerprint(tables),
        tables=tuple(manifests),
        types=read_types(connection, tables),
        references=tuple(
            sorted({key.definition for facts in tables.values() for key in facts.foreign_keys})
        ),
        columns={name: shipped_table(catalog, facts).columns for name, facts in tables.items()},
    )
