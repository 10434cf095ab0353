"""Tables of the ledger: their creation, the catalog that they belong to, and the lock of a load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import LedgerOfAnotherCatalogError, LoadInProgressError
from ar_sync_pipeline.postgres.other_sessions import advisory_lock_holder, holds_advisory_lock
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.session_settings import end_with_the_host

LEDGER_SCHEMA = "ar_sync"
LEDGER_IS_COMPLETE = (
    "(to_regclass('ar_sync.replicated_catalog') IS NOT NULL"
    " AND to_regclass('ar_sync.admitted_archive') IS NOT NULL"
    " AND to_regclass('ar_sync.archive_summary') IS NOT NULL"
    " AND to_regclass('ar_sync.table_definition') IS NOT NULL"
    " AND to_regclass('ar_sync.installed_media') IS NOT NULL"
    " AND EXISTS (SELECT FROM pg_attribute WHERE attname = 'schema_fingerprint'"
    " AND attrelid = to_regclass('ar_sync.applied_archive')))"
)
"""SQL condition that no table or column of this version is missing."""

_LOAD_LOCK = 7_017_250_917_033_000
_TABLES_LOCK = _LOAD_LOCK + 1
_LOCK_WAIT = "10s"


def ensure_ledger(connection: Connection) -> None:
    """Create the schema and its tables if they are missing."""
    ((_, has_tables),) = connection.execute(_EXISTING).fetchall()
    if not has_tables:
        with creating_tables(connection):
            ensure_schema(connection)
            connection.execute(_TABLES)


def ensure_schema(connection: Connection) -> None:
    """Create the schema of the ledger if it is missing.

    CREATE SCHEMA, with IF NOT EXISTS too, requires CREATE on the database (PostgreSQL manual,
    CREATE SCHEMA), which the role need not have if an administrator created the schema.
    """
    if not scalar(connection, "SELECT to_regnamespace('ar_sync') IS NOT NULL"):
        with creating_tables(connection):
            connection.execute("CREATE SCHEMA IF NOT EXISTS ar_sync")


@contextmanager
def creating_tables(connection: Connection) -> Iterator[None]:
    """Create tables of the ledger in one transaction, alone.

    Sensors that tick at the same time may all find that they are missing, and CREATE TABLE IF NOT
    EXISTS fails for the second one.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_TABLES_LOCK])
        yield


def open_existing_ledger(connection: Connection) -> bool:
    """Upgrade the ledger, or fill an empty schema for it; return False if there is neither.

    What only reads calls this instead of `ensure_ledger`: a wrong URL must not create anything.
    """
    if not scalar(connection, _EXISTING):
        return False
    ensure_ledger(connection)
    return True


def has_ledger_table(connection: Connection) -> bool:
    """Return whether there is a ledger; nothing is changed."""
    return bool(scalar(connection, "SELECT to_regclass('ar_sync.applied_archive') IS NOT NULL"))


def may_read_ledger(connection: Connection, table: str) -> bool | None:
    """Return whether this role may read a table of the ledger; None: there is no such table."""
    readable: bool | None = scalar(connection, _MAY_READ, [table])
    return readable


def nothing_applied(connection: Connection) -> bool:
    """Return whether this role can see that no archive was ever applied."""
    readable = may_read_ledger(connection, "applied_archive")
    if readable is None:
        return True
    return readable and not scalar(connection, _ANY_APPLIED)


def claim_ledger(connection: Connection, catalog_name: str) -> None:
    """Create the ledger if it is missing, for one catalog only.

    If two catalogs shared a ledger, each would take the other's archives for its own chain.

    Raises:
        LedgerOfAnotherCatalogError: The ledger is another catalog's.
    """
    ensure_ledger(connection)
    connection.execute(
        "INSERT INTO ar_sync.replicated_catalog (name) VALUES (%s) ON CONFLICT DO NOTHING",
        [catalog_name],
    )
    check_catalog(connection, catalog_name)


def check_catalog(connection: Connection, catalog_name: str) -> None:
    """Check that the ledger is not another catalog's; nothing is written.

    A ledger that this role may not read is not judged.

    Raises:
        LedgerOfAnotherCatalogError: It is.
    """
    if not may_read_ledger(connection, "replicated_catalog"):
        return
    row = connection.execute("SELECT name FROM ar_sync.replicated_catalog").fetchone()
    if row is not None and row[0] != catalog_name:
        raise LedgerOfAnotherCatalogError(
            f"the ledger of this database is that of the catalog {printable(row[0])}, and"
            f" AR_SYNC_CATALOG is the catalog {printable(catalog_name)}",
            remedy="give each catalog a receiver database of its own; if the catalog was only"
            " renamed, run UPDATE ar_sync.replicated_catalog SET name = the new name",
        )


@contextmanager
def load_lock(connection: Connection, *, wait: str = _LOCK_WAIT) -> Iterator[None]:
    """Exclude every other load for the length of the block; the end of a session releases it too.

    It waits a few seconds, since the server may still be ending the session of a killed load.

    Args:
        wait: Longest wait, as a ``lock_timeout``.

    Raises:
        LoadInProgressError: Another load holds the lock.
    """
    end_with_the_host(connection)
    try:
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [wait])
            connection.execute("SELECT pg_advisory_lock(%s)", [_LOAD_LOCK])
    except psycopg.errors.LockNotAvailable as error:
        raise _in_progress(connection) from error
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(%s)", [_LOAD_LOCK])


def check_load_lock(connection: Connection) -> None:
    """Check that this session holds the load lock; a session that was ended has lost it.

    Raises:
        LoadInProgressError: It does not.
    """
    if not holds_advisory_lock(connection, _LOAD_LOCK):
        raise LoadInProgressError(
            "this load has lost its lock, and another one may be working on this receiver",
            remedy="it is tried again; let no function of a trigger call pg_advisory_unlock_all",
        )


def _in_progress(connection: Connection) -> LoadInProgressError:
    holder = advisory_lock_holder(connection, _LOAD_LOCK)
    problem = "another load is working on this receiver"
    remedy = "wait for it, or end its run; it is tried again"
    if holder is not None:
        problem += f": {holder}"
        remedy += f"; if there is no such run, SELECT pg_terminate_backend({holder.pid})"
    return LoadInProgressError(problem, remedy=remedy)


_ANY_APPLIED = "SELECT EXISTS (SELECT FROM ar_sync.applied_archive)"
_MAY_READ = """
SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'ar_sync' AND c.relname = %s
"""


_EXISTING = f"SELECT to_regnamespace('ar_sync') IS NOT NULL, {LEDGER_IS_COMPLETE}"


_TABLES = """
CREATE TABLE IF NOT EXISTS ar_sync.applied_archive (
    archive_id   uuid PRIMARY KEY,
    name         text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('complete', 'partial')),
    snapshot_at  timestamptz NOT NULL,
    window_start timestamptz,
    window_end   timestamptz,
    covers_from  timestamptz,
    watermark    jsonb NOT NULL,
    sender       jsonb NOT NULL,
    superseded   boolean NOT NULL,
    applied_at   timestamptz NOT NULL,
    plan         jsonb NOT NULL
);
ALTER TABLE ar_sync.applied_archive ADD COLUMN IF NOT EXISTS manifest_sha256 text;
ALTER TABLE ar_sync.applied_archive ADD COLUMN IF NOT EXISTS history uuid;
ALTER TABLE ar_sync.applied_archive ADD COLUMN IF NOT EXISTS unverified_chunks jsonb;
ALTER TABLE ar_sync.applied_archive ADD COLUMN IF NOT EXISTS gone text[];
ALTER TABLE ar_sync.applied_archive ADD COLUMN IF NOT EXISTS schema_fingerprint text;
CREATE TABLE IF NOT EXISTS ar_sync.admitted_archive (
    name            text PRIMARY KEY,
    manifest_sha256 text NOT NULL,
    admitted_at     timestamptz NOT NULL
);
COMMENT ON TABLE ar_sync.admitted_archive IS
    'Archives that were verified and may be loaded, and the manifest that each had then';
CREATE TABLE IF NOT EXISTS ar_sync.allowed_archive (
    name        text PRIMARY KEY,
    allowed_by  text NOT NULL,
    allowed_at  timestamptz NOT NULL
);
ALTER TABLE ar_sync.allowed_archive ADD COLUMN IF NOT EXISTS manifest_sha256 text;
CREATE TABLE IF NOT EXISTS ar_sync.replicated_catalog (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    name     text NOT NULL
);
COMMENT ON TABLE ar_sync.replicated_catalog IS
    'The catalog whose archives this ledger records';
COMMENT ON TABLE ar_sync.allowed_archive IS
    'Archives that an operator let through the delete guard, with who and when';
CREATE TABLE IF NOT EXISTS ar_sync.archive_summary (
    kind              text NOT NULL,
    superseded        boolean NOT NULL,
    archives          bigint NOT NULL,
    first_snapshot_at timestamptz NOT NULL,
    last_snapshot_at  timestamptz NOT NULL,
    PRIMARY KEY (kind, superseded)
);
COMMENT ON TABLE ar_sync.archive_summary IS
    'How many archives were applied whose lines nothing needs any more';
CREATE TABLE IF NOT EXISTS ar_sync.table_definition (
    table_name       text PRIMARY KEY,
    definition       jsonb NOT NULL,
    unverified_since timestamptz
);
COMMENT ON TABLE ar_sync.table_definition IS
    'Replicated tables as of the last load, and since when DDL of others has changed their rows';
CREATE TABLE IF NOT EXISTS ar_sync.installed_media (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    facts    text NOT NULL
);
COMMENT ON TABLE ar_sync.installed_media IS
    'Some of the files that the newest complete left in the media folder, and its mount point';
CREATE INDEX IF NOT EXISTS applied_archive_snapshot_at ON ar_sync.applied_archive (snapshot_at);
COMMENT ON TABLE ar_sync.applied_archive IS
    'Archives that this receiver has applied, written in the same transaction as their rows';
"""
