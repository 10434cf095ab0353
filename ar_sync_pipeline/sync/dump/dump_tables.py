"""The first step of a dump: every table's rows, from one snapshot, as members of an archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from pydantic import BaseModel, ConfigDict

from ar_sync_pipeline.archive.manifest import (
    BaseArchive,
    Chunk,
    Column,
    TableManifest,
    TypeDefinition,
    Watermark,
    Window,
)
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.export.definition_changes import redefined_tables
from ar_sync_pipeline.export.dump_session import DumpSession, DumpStart
from ar_sync_pipeline.export.history import comparable, has_traces, may_precede
from ar_sync_pipeline.export.masking import rule_digests
from ar_sync_pipeline.export.media_references import media_references
from ar_sync_pipeline.export.object_ids import ObjectIds, read_object_ids
from ar_sync_pipeline.export.selection import (
    Selection,
    reads_watermark,
    select_rows,
    untracked_tables,
)
from ar_sync_pipeline.export.source_tables import exported_table, references_out
from ar_sync_pipeline.export.table_export import (
    chunk_selected_rows,
    chunk_whole_table,
    write_chunk,
)
from ar_sync_pipeline.export.whole_tables import WholeTables
from ar_sync_pipeline.postgres.blocking_watch import DEFAULT_LIMIT_SECONDS, end_when_blocking
from ar_sync_pipeline.postgres.digest import probe_digest
from ar_sync_pipeline.postgres.migrations import read_migrations
from ar_sync_pipeline.postgres.schema_facts import schema_fingerprint
from ar_sync_pipeline.postgres.type_facts import read_types
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder, clean_members
from ar_sync_pipeline.sync.dump.compare_base import (
    Comparison,
    has_same_history,
    tables_read_otherwise,
)
from ar_sync_pipeline.sync.dump.kept_manifests import Base
from ar_sync_pipeline.sync.dump.known_objects import objects_of, remember_objects
from ar_sync_pipeline.sync.dump.scratch import space_for
from ar_sync_pipeline.sync.dump.sent_archives import (
    DigestsOf,
    remember_digests,
    remember_rules,
)
from ar_sync_pipeline.sync.stopwatch import Stopwatch

_WORK = "the dump"


@dataclass(frozen=True)
class PartialRequest:
    """Request for a partial.

    Attributes:
        window: Window, or range of missed windows, of the archive.
        look_back: TIME: how far before the window's end rows count as changed.
        since: Newest point that the receiver is known to have; None: only the window counts.
        after: Time of the newest snapshot that was taken before this one.
        claimed: Point that the receiver claims to have.
    """

    window: Window
    look_back: timedelta
    since: Watermark | None
    after: datetime | None = None
    claimed: Watermark | None = None

    @property
    def changed_at(self) -> Window:
        """Interval of ``changed_at`` to read: never less than the window."""
        start = min(self.window.start, self.window.end - self.look_back)
        return Window(start=start, end=self.window.end)


class TableDump(BaseModel):
    """Result of the first step of a dump: everything of a manifest except the media files.

    Attributes:
        window: Window of a partial; None in a complete.
        since: Point from which a partial contains every change; in a complete the point that the
            receiver is known to have.
        new_history: As in `Manifest`.
        media_references: Names of media files in the dumped rows of a partial.
        untracked_tables: Tables whose changes a partial may miss until the next complete.
        types: Types of these columns.
        references: Foreign keys of the replicated tables.
        references_out: Foreign keys to tables that are not replicated, one sentence each.
        columns: Replicated columns of every replicated table, also of tables without exported rows.
        base: Complete that a differential complete was compared with; None: everything is carried.
        held_at: Point at which the receiver is known to have the media files of the archives up to
            there.
        lacking: What the receiver lacks of a complete after the base.
        digests: When all digests of a complete were computed.
        seconds: Seconds by phase: snapshot, selection (of a partial), tables.
    """

    model_config = ConfigDict(frozen=True)

    window: Window | None
    since: Watermark | None
    new_history: bool = False
    watermark: Watermark
    database: str
    digest_probe: str
    migrations: tuple[str, ...]
    schema_fingerprint: str
    tables: tuple[TableManifest, ...]
    media_references: tuple[str, ...] = ()
    untracked_tables: tuple[str, ...] = ()
    references_out: tuple[str, ...] = ()
    columns: dict[str, tuple[Column, ...]] = {}
    types: tuple[TypeDefinition, ...] = ()
    references: tuple[str, ...] = ()
    base: BaseArchive | None = None
    held_at: Watermark | None = None
    lacking: Lacking = Lacking()
    digests: DigestsOf | None = None
    seconds: dict[str, float] = {}


def dump_complete(  # noqa: PLR0913  each is one fact of where a dump starts
    url: str,
    catalog: Catalog,
    build: BuildFolder,
    clock: Clock,
    *,
    since: Watermark | None = None,
    base: Base | None = None,
    after: datetime | None = None,
    claimed: Watermark | None = None,
    verify_after: timedelta = timedelta(days=7),
    max_blocking_seconds: float = DEFAULT_LIMIT_SECONDS,
    pseudonym_key: str | None = None,
) -> TableDump:
    """Describe every row of every table of the catalog, and write what the receiver may lack.

    Two connections read the same snapshot in parallel, the largest tables first.

    Args:
        since: Point that the receiver is known to have; the keys of rows that were written since
            then are exported too, so that the receiver can detect what partials missed.
        base: Complete to compare with: chunks that are equal in it are not written; None: all are.
        after: Time of the newest snapshot that was taken before this one.
        claimed: Point that the receiver claims to have.
        verify_after: Age of digests from which those of unchanged chunks are computed again.
        max_blocking_seconds: How long another session may wait for the dump before the dump is
            terminated.
        pseudonym_key: Secret of the catalog's pseudonyms.

    Raises:
        BlockingEndedError: Another session waited longer than that.
        LockWaitError: Another session holds a lock on a table.
        TablesChangingError: Migrations are still changing the tables after all attempts.
        DatabaseUnreachableError: The database cannot be reached.
        DatabaseRefusedError: It refuses the connection, or hides rows from the role.
        SchemaError: A table cannot be exported, or a column rule cannot be applied.
        ScratchFullError: The disk of the build folder is full.
    """
    stopwatch = Stopwatch()
    clean_members(build)
    with space_for(build), end_when_blocking(url, max_blocking_seconds, work=_WORK) as watch:
        start = DumpStart(
            url, catalog, clock, watch, after=after, workers=1, pseudonym_key=pseudonym_key
        )
        with start.begin() as session:
            stopwatch.lap("snapshot")
            objects = read_object_ids(session.connection, session.tables)
            start_at = _StartAt.of(session, build, objects, since, claimed)
            rules = rule_digests(catalog, session.tables, pseudonym_key)
            untold = _sent_otherwise(session, build, start_at.since, rules, objects)
            known = base if base and start_at.continues(session, base) else None
            compared = Comparison.of(session, catalog, build, known, rules, objects, verify_after)
            writer = WholeTables(
                session.connections, build.members, start_at.since, untold, compared.held
            )
            manifests, misjudged = _whole_manifests(session, catalog, writer)
            stopwatch.lap("tables")
            dump = _describe(session, catalog, manifests, start_at)
    digests = compared.digests(dump.watermark.snapshot_at, misjudged)
    dump = dump.model_copy(
        update=_compared(known) | {"digests": digests, "seconds": stopwatch.seconds}
    )
    remember_rules(build.path.parent, dump.watermark.snapshot_at, rules)
    remember_objects(build.path.parent, dump.watermark.snapshot_at, objects)
    remember_digests(build.path.parent, digests)
    build.save(dump)
    return dump


def dump_partial(
    url: str,
    catalog: Catalog,
    build: BuildFolder,
    clock: Clock,
    request: PartialRequest,
    *,
    max_blocking_seconds: float = DEFAULT_LIMIT_SECONDS,
    pseudonym_key: str | None = None,
) -> TableDump:
    """Write what changed in a window or since a watermark, and all that it refers to.

    Args:
        max_blocking_seconds: How long another session may wait for the dump before the dump is
            terminated.
        pseudonym_key: Secret of the catalog's pseudonyms.

    Raises:
        BlockingEndedError: Another session waited longer than that.
        LockWaitError: Another session holds a lock on a table.
        TablesChangingError: Migrations are still changing the tables after all attempts.
        DatabaseUnreachableError: The database cannot be reached.
        DatabaseRefusedError: It refuses the connection, or hides rows from the role.
        SchemaError: A table cannot be exported, the catalog names a missing column, or a column
            rule cannot be applied.
        ScratchFullError: The disk of the build folder is full.
    """
    stopwatch = Stopwatch()
    clean_members(build)
    with space_for(build), end_when_blocking(url, max_blocking_seconds, work=_WORK) as watch:
        start = DumpStart(
            url,
            catalog,
            clock,
            watch,
            after=request.after,
            with_keys=True,
            pseudonym_key=pseudonym_key,
        )
        with start.begin() as session:
            stopwatch.lap("snapshot")
            objects = read_object_ids(session.connection, session.tables)
            start_at = _StartAt.of(session, build, objects, request.since, request.claimed)
            rules = rule_digests(catalog, session.tables, pseudonym_key)
            redefined = _sent_otherwise(session, build, start_at.since, rules, objects)
            found = _PartialRows(session, catalog, build, request, start_at.since, redefined)
            found.select()
            stopwatch.lap("selection")
            manifests = found.write()
            dump = _describe(session, catalog, manifests, start_at)
    stopwatch.lap("tables")
    dump = dump.model_copy(update=found.described | {"seconds": stopwatch.seconds})
    remember_rules(build.path.parent, dump.watermark.snapshot_at, rules)
    remember_objects(build.path.parent, dump.watermark.snapshot_at, objects)
    build.save(dump)
    return dump


@dataclass(frozen=True)
class _StartAt:
    """The point to start from, as far as this database knows it.

    Attributes:
        since: The requested point; None if transaction ids cannot be compared with it.
        new_history: Whether that point, or the one that the receiver claims to have, is not in the
            current history of the database.
    """

    since: Watermark | None
    new_history: bool

    @classmethod
    def of(
        cls,
        session: DumpSession,
        build: BuildFolder,
        objects: ObjectIds,
        since: Watermark | None,
        claimed: Watermark | None,
    ) -> Self:
        now = session.snapshot.watermark
        strange = [
            point
            for point in (since, claimed)
            if point is not None
            and not (
                may_precede(point, now)
                and has_traces(session.connection, point)
                and _is_of_this_database(build, point, objects)
            )
        ]
        known = comparable(since, now) if since not in strange else None
        return cls(known, bool(strange))

    def continues(self, session: DumpSession, base: Base) -> bool:
        """Return whether the current state can be compared with an earlier complete."""
        return not self.new_history and has_same_history(session, base)


def _compared(base: Base | None) -> dict[str, object]:
    if base is None:
        return {}
    earlier = BaseArchive(
        archive_id=base.manifest.archive_id, snapshot_at=base.manifest.snapshot_at
    )
    return {"base": earlier, "held_at": base.reached, "lacking": base.lacking}


def _is_of_this_database(build: BuildFolder, point: Watermark, objects: ObjectIds) -> bool:
    """Return whether no other database of the cluster is known for an earlier point."""
    before = objects_of(build.path.parent, point.snapshot_at)
    return before is None or before.database == objects.database


def _sent_otherwise(
    session: DumpSession,
    build: BuildFolder,
    since: Watermark | None,
    rules: Mapping[str, str],
    objects: ObjectIds,
) -> frozenset[str]:
    """Return tables whose unchanged rows have other values than in an earlier archive."""
    if since is None:
        return frozenset()
    redefined = redefined_tables(session.connection, session.tables, since)
    changed = tables_read_otherwise(session, build, since, rules, objects)
    return redefined | (changed & session.tables.keys())


def _whole_manifests(
    session: DumpSession, catalog: Catalog, writer: WholeTables
) -> tuple[list[TableManifest], dict[str, int]]:
    """Return the tables of a complete, and the number of misjudged chunks by table."""
    tables = session.tables
    largest_first = sorted(tables, key=lambda name: -tables[name].size_bytes)
    written = writer.write([exported_table(catalog, tables[name]) for name in largest_first])
    manifests = [
        _manifest(
            session, catalog, name, written[name].chunks, absent_keys=written[name].absent_keys
        ).model_copy(update={"changed_keys": written[name].changed_keys})
        for name in tables
    ]
    return manifests, {name: one.misjudged for name, one in written.items() if one.misjudged}


class _PartialRows:
    """The rows of a partial: chosen, then written.

    Attributes:
        since: Point from which every change is exported, if ids can be compared with it.
        redefined: Tables whose unchanged rows have other values than before.
    """

    def __init__(
        self,
        session: DumpSession,
        catalog: Catalog,
        build: BuildFolder,
        request: PartialRequest,
        since: Watermark | None,
        redefined: frozenset[str],
    ) -> None:
        self.since = since
        self._session = session
        self._catalog = catalog
        self._build = build
        self._request = request
        self._redefined = redefined
        self._whole: frozenset[str] = frozenset()
        self._references: set[str] = set()

    def select(self) -> None:
        """Choose the rows."""
        session, request = self._session, self._request
        self._whole = select_rows(
            session.connection,
            self._catalog,
            session.tables,
            session.keys,
            Selection(request.changed_at, self.since, request.look_back),
            self._redefined,
        )

    def write(self) -> list[TableManifest]:
        """Write the chosen rows; tables without any are left out, unless they are whole."""
        found = (self._write_table(name) for name in self._session.tables)
        return [manifest for manifest in found if manifest.chunks or manifest.whole]

    @property
    def described(self) -> dict[str, object]:
        """Fields of the dump in addition to its tables."""
        return {
            "window": self._request.window,
            "media_references": tuple(sorted(self._references)),
            "untracked_tables": untracked_tables(
                self._catalog, self._session.tables, self.since, self._redefined
            ),
        }

    def _write_table(self, name: str) -> TableManifest:
        connection, whole = self._session.connection, name in self._whole
        table = exported_table(self._catalog, self._session.tables[name])
        keys = None if whole else self._session.keys.get(name)
        if whole:
            queries = chunk_whole_table(connection, table)
        else:
            queries = chunk_selected_rows(connection, table, keys) if keys is not None else []
        chunks = [
            write_chunk(connection, self._build.members, table, number, query)
            for number, query in enumerate(queries)
        ]
        if chunks:
            rules = self._catalog.rules(name)
            self._references.update(media_references(connection, table, rules, keys))
        manifest = _manifest(self._session, self._catalog, name, chunks, whole=whole)
        covers = self.since is not None and (
            whole or reads_watermark(self._catalog, self._session.tables[name])
        )
        return manifest.model_copy(update={"covers_since": covers})


def _manifest(
    session: DumpSession,
    catalog: Catalog,
    name: str,
    chunks: Sequence[Chunk],
    *,
    whole: bool = False,
    absent_keys: Chunk | None = None,
) -> TableManifest:
    facts = session.tables[name]
    table = exported_table(catalog, facts)
    return TableManifest(
        name=name,
        columns=table.columns,
        primary_key=table.primary_key,
        row_count=sum(chunk.row_count for chunk in chunks),
        chunks=tuple(chunks),
        absent_keys=absent_keys,
        sequences=session.sequences[name],
        whole=whole,
        unique_keys=tuple(sorted({u.definition for u in facts.unique_keys if u.valid})),
        column_rules=catalog.rules(name).column_rules,
    )


def _describe(
    session: DumpSession,
    catalog: Catalog,
    manifests: Sequence[TableManifest],
    start_at: _StartAt,
) -> TableDump:
    connection, tables = session.connection, session.tables
    return TableDump(
        window=None,
        since=start_at.since,
        new_history=start_at.new_history,
        watermark=session.snapshot.watermark,
        database=session.snapshot.database,
        digest_probe=probe_digest(connection),
        migrations=read_migrations(connection, catalog.schema_name, catalog.django_app),
        schema_fingerprint=schema_fingerprint(tables),
        tables=tuple(manifests),
        types=read_types(connection, tables),
        references=tuple(
            sorted({key.definition for facts in tables.values() for key in facts.foreign_keys})
        ),
        columns={name: exported_table(catalog, facts).columns for name, facts in tables.items()},
        references_out=references_out(catalog, tables),
    )
