"""The start of a dump: tables are described, locked and read by one snapshot, or it is retried.

The facts of a table are read before the table can be locked, and a migration may run in between. So
they are read again under the snapshot and compared. After any failure, all locks are released
before the next attempt, because production has priority.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import psycopg
from psycopg import sql

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.archive.manifest import SequenceValue
from ar_sync_pipeline.catalog.labels import label_of
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.export.errors import TablesChangingError
from ar_sync_pipeline.export.lock_budget import sessions_that_fit
from ar_sync_pipeline.export.locks import (
    limit_lock_waits,
    lock_by_query,
    lock_tables,
    open_indexes,
)
from ar_sync_pipeline.export.masking import require_pseudonym_key, set_pseudonym_key
from ar_sync_pipeline.export.ruled_values import RuledBefore
from ar_sync_pipeline.export.selection import prepare_keys
from ar_sync_pipeline.export.snapshot import Snapshot, join_snapshot, take_snapshot
from ar_sync_pipeline.export.source_tables import replicated_tables
from ar_sync_pipeline.postgres.blocking_watch import BlockingWatch, lock_wait
from ar_sync_pipeline.postgres.checks.event_triggers import EXEMPT
from ar_sync_pipeline.postgres.connect import (
    Connection,
    connect,
    is_of_the_server,
    lacks_name,
    names_function,
)
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError, LockWaitError
from ar_sync_pipeline.postgres.exported_table import read_sequences
from ar_sync_pipeline.postgres.migrations import migrations_table
from ar_sync_pipeline.postgres.other_sessions import exclusive_lock
from ar_sync_pipeline.postgres.server_message import shown
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.postgres.table_facts import TableFacts

_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
# A deadlock also means that a lock is not available.
_LOCK_ERRORS = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
# A table or index that was dropped or changed after it was read.
_CHANGED_ERRORS = (
    psycopg.errors.InternalError_,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedObject,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.WrongObjectType,
)


@dataclass(frozen=True)
class DumpSession:
    """A dump that has begun: nothing that it reads can be changed or locked exclusively any more.

    Attributes:
        snapshot: Snapshot that all connections read.
        tables: Replicated tables, by name.
        connections: All connections that read the snapshot, that of the snapshot first.
        keys: Relation for the keys of chosen rows, by table with a key; empty unless requested.
        sequences: Last values of the sequences of each table, read after the snapshot was taken.
    """

    snapshot: Snapshot
    tables: Mapping[str, TableFacts]
    connections: tuple[Connection, ...]
    keys: Mapping[str, sql.Identifier]
    sequences: Mapping[str, tuple[SequenceValue, ...]]

    @property
    def connection(self) -> Connection:
        """Connection that holds the snapshot."""
        return self.snapshot.connection

    @contextmanager
    def reading_rows(self) -> Iterator[None]:
        """Resolve names like the application in all connections, for the length of a block."""
        with ExitStack() as stack:
            for connection in self.connections:
                stack.enter_context(default_search_path(connection))
            yield


@dataclass(frozen=True)
class DumpStart:
    """Arguments of a dump's start.

    Attributes:
        url: URL of the sender's database.
        after: Time of the newest snapshot that was taken before this one.
        workers: Number of connections in addition to the first one, if the server's lock table
            has space for them.
        with_keys: Whether rows will be chosen, as in a partial.
        pseudonym_key: Secret of the catalog's pseudonyms.
        before: Where values under rules were at earlier dumps.
    """

    url: str
    catalog: Catalog
    clock: Clock
    watch: BlockingWatch
    after: datetime | None = None
    workers: int = 0
    with_keys: bool = False
    pseudonym_key: str | None = None
    before: RuledBefore = field(default_factory=RuledBefore)

    @contextmanager
    def begin(self) -> Iterator[DumpSession]:
        """Keep a dump's sessions open for the length of a block.

        Raises:
            LockWaitError: Another session holds a lock on a table; the error names the session.
            TablesChangingError: The tables are still being changed after all attempts.
            DatabaseUnreachableError: The database cannot be reached.
            DatabaseRefusedError: It refuses the connection, or hides rows from the role.
            SchemaError: A table cannot be exported, or values have lost their rule.
        """
        require_pseudonym_key(self.catalog, self.pseudonym_key)
        with ExitStack() as stack:
            yield self._with_retries(stack)

    def _with_retries(self, stack: ExitStack) -> DumpSession:
        for pause in (*_PAUSES_SECONDS, None):
            try:
                with ExitStack() as attempt:
                    session = self._attempt(attempt)
                    stack.push(attempt.pop_all())
                    return session
            except (LockWaitError, TablesChangingError):
                if pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError

    def _attempt(self, stack: ExitStack) -> DumpSession:
        known: Mapping[str, TableFacts] = {}
        try:
            connection = self._connect(stack)
            known = replicated_tables(connection, self.catalog, self.before)
            keys = _prepare_keys(connection, known) if self.with_keys else {}
            others = _others(connection, self.catalog)
            guard = self._guard(stack, known)
            snapshot = stack.enter_context(
                take_snapshot(
                    connection, self.clock, after=self.after, tables=known.values(), others=others
                )
            )
            if guard is not None:
                guard.close()
            set_pseudonym_key(connection, self.pseudonym_key)
            tables = self._unchanged(connection, known)
            sequences = {
                name: read_sequences(connection, facts, self.catalog.rules(name).not_sent_as_it_is)
                for name, facts in tables.items()
            }
            sessions = sessions_that_fit(connection, tables.values(), 1 + self.workers)
            workers = [self._join(stack, snapshot, tables) for _ in range(sessions - 1)]
        except _LOCK_ERRORS as error:
            raise self._lock_wait(known) from error
        except _CHANGED_ERRORS as error:
            if lacks_name(error):
                raise
            raise _changing(shown(error)) from error
        return DumpSession(snapshot, tables, (connection, *workers), keys, sequences)

    def _connect(self, stack: ExitStack) -> Connection:
        connection = stack.enter_context(connect(self.url, application="dump"))
        limit_lock_waits(connection)
        stack.enter_context(self.watch.over(connection))
        return connection

    def _guard(self, stack: ExitStack, known: Mapping[str, TableFacts]) -> Connection | None:
        """Open a session for the locks that the dump itself cannot take before its snapshot."""
        by_query = [facts for facts in known.values() if facts.by_column_rights]
        if not by_query:
            return None
        guard = stack.enter_context(connect(self.url, application="dump locks"))
        lock_by_query(guard, by_query)
        return guard

    def _join(
        self, stack: ExitStack, snapshot: Snapshot, tables: Mapping[str, TableFacts]
    ) -> Connection:
        connection = stack.enter_context(join_snapshot(self.url, snapshot.exported))
        # Here, since an error inside `connect` says no more that a lock was not available.
        lock_tables(connection, tables.values())
        open_indexes(connection, tables.values())
        set_pseudonym_key(connection, self.pseudonym_key)
        stack.enter_context(self.watch.over(connection))
        return connection

    def _unchanged(
        self, connection: Connection, known: Mapping[str, TableFacts]
    ) -> dict[str, TableFacts]:
        """Return the facts under the snapshot if they equal those known before the locks."""
        tables = replicated_tables(connection, self.catalog, self.before)
        for name in known.keys() | tables.keys():
            if _definition(known.get(name)) != _definition(tables.get(name)):
                raise _changing(name)
        return tables

    def _lock_wait(self, known: Mapping[str, TableFacts]) -> ArSyncError:
        """Return an error that names the blocking session; read on a connection without locks."""
        with connect(self.url, application="dump") as connection:
            # The first read of the facts locks each table briefly.
            relations = _relations(known) or _locked_relations(connection, self.catalog)
            found = exclusive_lock(connection, [*relations, *_others(connection, self.catalog)])
        if found is None:
            return LockWaitError(
                "the dump did not get its locks, by a session that has ended meanwhile",
                remedy="it is tried again",
            )
        return lock_wait("the dump", found)


def _prepare_keys(
    connection: Connection, tables: Mapping[str, TableFacts]
) -> dict[str, sql.Identifier]:
    """Create the tables of keys; event triggers of the application fire for them.

    Raises:
        DatabaseRefusedError: The function of an event trigger fails.
    """
    try:
        with default_search_path(connection):
            return prepare_keys(connection, tables)
    except psycopg.Error as error:
        if not names_function(error.diag.context) or is_of_the_server(error, connection):
            raise
        where = printable((error.diag.context or "").splitlines()[-1])
        raise DatabaseRefusedError(
            f"an event trigger of the sender fails for the temporary tables of a dump"
            f" ({shown(error)}; {where})",
            remedy=EXEMPT.format(connection.info.user),
        ) from error


def _relations(tables: Mapping[str, TableFacts]) -> list[sql.Identifier]:
    """Return the tables and their sequences."""
    sequences = [c.sequence for facts in tables.values() for c in facts.columns if c.sequence]
    return [facts.relation for facts in tables.values()] + [sql.Identifier(*s) for s in sequences]


def _locked_relations(connection: Connection, catalog: Catalog) -> list[sql.Identifier]:
    """Return the replicated tables with an exclusive lock, without taking any lock."""
    rows = connection.execute(
        "SELECT DISTINCT n.nspname, c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE l.mode = 'AccessExclusiveLock'"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return [
        sql.Identifier(schema, name)
        for schema, name in rows
        if catalog.replicates(label_of(schema, name, catalog.schema_name))
    ]


def _definition(facts: TableFacts | None) -> TableFacts | None:
    return replace(facts, size_bytes=0) if facts is not None else None


def _changing(what: str) -> TablesChangingError:
    return TablesChangingError(
        f"the tables were changed while the dump began ({what})",
        remedy="it is tried again; run dumps and migrations one after the other",
    )


def _others(connection: Connection, catalog: Catalog) -> list[sql.Composable]:
    """Return other tables that a dump reads: Django's list of migrations."""
    table = migrations_table(connection, catalog.schema_name, catalog.django_app)
    return [] if table is None else [table]
