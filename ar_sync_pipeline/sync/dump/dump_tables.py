"""The first step of a dump: every table's rows, from one snapshot, as members of an archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ar_sync_pipeline.archive.manifest import TableManifest
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.export.definition_changes import types_changed
from ar_sync_pipeline.export.dump_session import DumpSession, DumpStart
from ar_sync_pipeline.export.errors import changing_meanwhile
from ar_sync_pipeline.export.locks import limit_lock_waits
from ar_sync_pipeline.export.masking import rule_digests
from ar_sync_pipeline.export.ruled_values import RuledNow
from ar_sync_pipeline.export.selection import reads_watermark
from ar_sync_pipeline.export.source_tables import exported_table
from ar_sync_pipeline.export.whole_tables import WholeTables
from ar_sync_pipeline.postgres.blocking_watch import DEFAULT_LIMIT_SECONDS, end_when_blocking
from ar_sync_pipeline.postgres.checks.findings import Level
from ar_sync_pipeline.postgres.checks.omissions import find_omissions
from ar_sync_pipeline.postgres.checks.sender_checks import names_without_a_table, references_out
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.digest import probe_digest
from ar_sync_pipeline.postgres.migrations import read_migrations
from ar_sync_pipeline.postgres.schema_facts import schema_fingerprint
from ar_sync_pipeline.postgres.table_facts import reference_definitions
from ar_sync_pipeline.postgres.type_facts import read_types
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder, clean_members
from ar_sync_pipeline.sync.dump.compare_base import Comparison
from ar_sync_pipeline.sync.dump.format_limits import describing
from ar_sync_pipeline.sync.dump.journal_of_tables import remember_digests, remember_loss
from ar_sync_pipeline.sync.dump.known_rules import FoundRuled, ruled_before
from ar_sync_pipeline.sync.dump.reading import Reading
from ar_sync_pipeline.sync.dump.scratch import space_for
from ar_sync_pipeline.sync.dump.sender_journal import begin_at
from ar_sync_pipeline.sync.dump.table_dump import CompleteRequest, PartialRequest, TableDump
from ar_sync_pipeline.sync.dump.table_manifests import PartialRows, whole_tables
from ar_sync_pipeline.sync.stopwatch import Stopwatch
from ar_sync_pipeline.visible_text import names_in_words

_EVERYTHING = CompleteRequest()


@dataclass(frozen=True)
class SenderDatabase:
    """The database that a dump reads, and what each of its sessions needs.

    Attributes:
        url: URL of the database.
        max_blocking_seconds: How long another session may wait for the dump before the dump is
            terminated.
        pseudonym_key: Secret of the catalog's pseudonyms.
    """

    url: str = field(repr=False)
    catalog: Catalog
    clock: Clock
    max_blocking_seconds: float = DEFAULT_LIMIT_SECONDS
    pseudonym_key: str | None = field(default=None, repr=False)

    @contextmanager
    def begin(
        self,
        build: BuildFolder,
        request: CompleteRequest | PartialRequest,
        stopwatch: Stopwatch,
        *,
        workers: int = 0,
        with_keys: bool = False,
    ) -> Iterator[Reading]:
        """Keep a dump's sessions open for the length of a block, and compare with earlier archives.

        Args:
            workers: Number of connections in addition to the first one.
            with_keys: Whether rows will be chosen, as in a partial.

        Raises:
            BlockingEndedError: Another session waited longer for the dump than it may.
            LockWaitError: Another session holds a lock on a table.
            TablesChangingError: Migrations are still changing the tables after all attempts.
            DatabaseUnreachableError: The database cannot be reached.
            DatabaseRefusedError: It refuses the connection, or hides rows from the role.
            SchemaError: A table cannot be exported, the catalog names a missing column, a column
                rule cannot be applied, or values under one have got another name.
            ScratchFullError: The disk of the build folder is full, also inside the block.
        """
        clean_members(build)
        scratch = build.path.parent
        before = ruled_before(scratch)
        with (
            space_for(build),
            end_when_blocking(self.url, self.max_blocking_seconds, work="the dump") as watch,
            DumpStart(
                self.url,
                self.catalog,
                lambda: begin_at(scratch, self.clock(), request.after),
                watch,
                after=request.after,
                workers=workers,
                with_keys=with_keys,
                pseudonym_key=self.pseudonym_key,
                before=before,
            ).begin() as session,
        ):
            stopwatch.lap("snapshot")
            now = RuledNow.read(session.connection, self.catalog, before.values)
            ruled = now.values(self.catalog, session.tables, before.values)
            found = FoundRuled.begin(scratch, ruled)
            rules = rule_digests(self.catalog, session.tables, self.pseudonym_key)
            tables = session.tables
            untracked = [n for n in tables if not reads_watermark(self.catalog, tables[n])]
            yield Reading.begin(session, found, rules, untracked, request.since, request.reported)

    def check_types(self, session: DumpSession, written: Sequence[TableManifest]) -> None:
        """Check that the rows were read as they were at the snapshot.

        Args:
            written: Tables of the dump; one without rows was read in no way.

        Raises:
            TablesChangingError: Labels or attributes of types were changed meanwhile.
        """
        tables = {t.name: session.tables[t.name] for t in written if t.row_count}
        if not tables:
            return
        with connect(self.url, application="dump") as now:
            limit_lock_waits(now)
            if names := types_changed(session.connection, now, tables):
                raise changing_meanwhile(f"types of columns of {names_in_words(names)}")


def dump_complete(
    database: SenderDatabase, build: BuildFolder, request: CompleteRequest = _EVERYTHING
) -> TableDump:
    """Describe every row of every table of the catalog, and write what the receiver may lack.

    Two connections read the same snapshot in parallel, the largest tables first.

    Raises:
        ArSyncError: See `SenderDatabase.begin`.
    """
    catalog, stopwatch = database.catalog, Stopwatch()
    with database.begin(build, request, stopwatch, workers=1) as reading:
        session = reading.session
        compared = Comparison.of(reading, catalog, request.base, request.verify_after)
        writer = WholeTables(
            session.connections, build.members, reading.since, reading.redefined(), compared.held
        )
        manifests, misjudged = whole_tables(session, catalog, writer)
        stopwatch.lap("tables")
        dump = _describe(reading, catalog, manifests)
        database.check_types(session, manifests)
        omissions = _omissions(session, catalog)
    digests = compared.digests(dump.watermark.snapshot_at, misjudged)
    dump = dump.model_copy(
        update=compared.described
        | {
            "omissions": omissions,
            "digests": digests,
            "seconds": stopwatch.seconds,
        }
    )
    reading.remember()
    scratch, snapshot_at = build.path.parent, dump.watermark.snapshot_at
    remember_loss(scratch, snapshot_at, session.tables, database.clock())
    remember_digests(scratch, digests)
    build.save(dump)
    build.sync()
    return dump


def _omissions(session: DumpSession, catalog: Catalog) -> tuple[str, ...]:
    """Return what the catalog may seem to replicate and does not, for the log of a complete."""
    found = [
        *names_without_a_table(session.connection, catalog, session.tables),
        *find_omissions(session.connection, catalog, session.tables),
    ]
    return tuple(str(one) for one in found if one.level is Level.WARNING)


def dump_partial(
    database: SenderDatabase, build: BuildFolder, request: PartialRequest
) -> TableDump:
    """Write what changed in a window or since a watermark, and all that it refers to.

    Raises:
        ArSyncError: See `SenderDatabase.begin`.
    """
    catalog, stopwatch = database.catalog, Stopwatch()
    with database.begin(build, request, stopwatch, with_keys=True) as reading:
        found = PartialRows(
            reading.session,
            catalog,
            build,
            request,
            selection := reading.selection(request),
            reading.redefined() - reading.untracked.keys() | reading.altered(),
            reading.uncovered(),
        )
        found.select()
        stopwatch.lap("selection")
        manifests = found.write()
        dump = _describe(reading, catalog, manifests)
        database.check_types(reading.session, manifests)
    stopwatch.lap("tables")
    dump = dump.model_copy(
        update=found.described | {"gone": reading.gone(), "seconds": stopwatch.seconds}
    )
    reading.remember()
    reading.remember_unread(found.unread, found.made_up)
    reading.remember_reread(selection)
    build.save(dump)
    return dump


def _describe(reading: Reading, catalog: Catalog, manifests: Sequence[TableManifest]) -> TableDump:
    session = reading.session
    connection, tables = session.connection, session.tables
    with describing(f"database {session.snapshot.database}"):
        return TableDump(
            window=None,
            since=reading.since,
            new_history=reading.new_history,
            receiver_unread=reading.reported.unread,
            receiver_free_bytes=reading.reported.free_bytes,
            watermark=session.snapshot.watermark,
            database=session.snapshot.database,
            digest_probe=probe_digest(connection),
            migrations=read_migrations(connection, catalog.schema_name, catalog.django_app),
            schema_fingerprint=schema_fingerprint(tables),
            tables=tuple(manifests),
            types=read_types(connection, catalog, tables),
            references=reference_definitions(
                key for facts in tables.values() for key in facts.foreign_keys
            ),
            columns={
                name: exported_table(catalog, facts).columns for name, facts in tables.items()
            },
            references_out=tuple(
                str(found) for facts in tables.values() for found in references_out(catalog, facts)
            ),
        )
