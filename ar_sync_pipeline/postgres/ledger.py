"""The ledger: applied archives of the receiver, written in the transaction that applies them.

It is in schema ``ar_sync`` of the receiver's database, so that rows and ledger can never disagree.
After a crash between the commit and the renaming of a file, the ledger shows that the archive is
already applied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from ar_sync_pipeline.archive.converted import OLD_SYSTEM
from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.archive.manifest import Manifest, SenderIdentity, Watermark
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import LedgerOfAnotherCatalogError, LoadInProgressError
from ar_sync_pipeline.postgres.scalar import scalar

LEDGER_SCHEMA = "ar_sync"
_LOAD_LOCK = 7_017_250_917_033_000
_LOCK_WAIT = "10s"


@dataclass(frozen=True)
class AppliedArchive:
    """One row of the ledger.

    Attributes:
        window_start, window_end: Window of a partial; None in a complete.
        superseded: Whether nothing of the archive was loaded, since it was older than the newest
            complete, or whether one that was made later and is dated earlier replaced it.
        covers_from: Time from which a partial contains every change: its watermark; None if only
            the window was used, and in a complete.
        system_identifier, timeline, xmax, lsn: Point of its snapshot in the sender's history.
        manifest_sha256: Hash of the manifest's bytes; None in a row of an older version.
        history: First archive of the history of its snapshot, if the sender's database was restored
            or replaced; None in the first history.
    """

    archive_id: UUID
    name: str
    kind: ArchiveKind
    snapshot_at: datetime
    covers_from: datetime | None
    window_start: datetime | None
    window_end: datetime | None
    superseded: bool
    applied_at: datetime
    system_identifier: str
    timeline: int
    xmax: int
    lsn: int | None
    manifest_sha256: str | None = None
    history: UUID | None = None


@dataclass(frozen=True)
class Approval:
    """Who approved an archive for the delete guard, and when."""

    allowed_by: str
    allowed_at: datetime


def ensure_ledger(connection: Connection) -> None:
    """Create the schema and its tables if they are missing."""
    row = connection.execute(_EXISTING).fetchone()
    has_schema, has_tables = row or (False, False)
    if not has_tables:
        with connection.transaction():
            if not has_schema:
                connection.execute("CREATE SCHEMA ar_sync")
            connection.execute(_TABLES)


def has_ledger(connection: Connection) -> bool:
    """Return whether the database has a ledger, or an empty schema for it; upgrade an older one.

    What only reads calls this instead of `ensure_ledger`: a wrong URL must not create anything.
    """
    row = connection.execute(_EXISTING).fetchone()
    if row is None or not row[0]:
        return False
    ensure_ledger(connection)
    return True


def may_read_ledger(connection: Connection, table: str) -> bool | None:
    """Return whether this role may read a table of the ledger; None: there is no such table."""
    readable: bool | None = scalar(connection, _MAY_READ, [table])
    return readable


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
def load_lock(connection: Connection) -> Iterator[None]:
    """Exclude every other load for the length of the block; the end of a session releases it too.

    It waits a few seconds, since the server may still be ending the session of a killed load.

    Raises:
        LoadInProgressError: Another load holds the lock.
    """
    try:
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [_LOCK_WAIT])
            connection.execute("SELECT pg_advisory_lock(%s)", [_LOAD_LOCK])
    except psycopg.errors.LockNotAvailable as error:
        raise LoadInProgressError(
            "another load is working on this receiver",
            remedy="wait for it, or end its run; it is tried again",
        ) from error
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(%s)", [_LOAD_LOCK])


def read_ledger(connection: Connection) -> list[AppliedArchive]:
    """Return every row, oldest snapshot first."""
    with connection.cursor(row_factory=class_row(AppliedArchive)) as cursor:
        rows = cursor.execute(
            sql.SQL("SELECT {} FROM ar_sync.applied_archive ORDER BY snapshot_at, name").format(
                sql.SQL(_LINE)
            )
        ).fetchall()
    return [_typed(row) for row in rows]


def read_sender(connection: Connection) -> SenderIdentity | None:
    """Return the sender whose archives this receiver loads; None before the first load.

    It is the old system only as long as no archive of another sender was ever applied.
    """
    row = connection.execute(
        "SELECT sender FROM ar_sync.applied_archive WHERE NOT superseded"
        " ORDER BY sender ->> 'system_identifier' = %s, applied_at DESC LIMIT 1",
        [OLD_SYSTEM.system_identifier],
    ).fetchone()
    return SenderIdentity.model_validate(row[0]) if row else None


def read_watermark(connection: Connection, archive_id: UUID) -> Watermark | None:
    """Return the watermark of an archive in the ledger; None if it is not in the ledger."""
    row = connection.execute(
        "SELECT watermark FROM ar_sync.applied_archive WHERE archive_id = %s", [archive_id]
    ).fetchone()
    return Watermark.model_validate(row[0]) if row else None


def read_sent_tables(connection: Connection) -> frozenset[str] | None:
    """Return the tables of the newest applied complete and of later partials; None without one.

    Archives of the old system do not count, because they do not list all tables.
    """
    rows = connection.execute(
        "WITH sent AS (SELECT * FROM ar_sync.applied_archive"
        " WHERE NOT superseded AND sender ->> 'system_identifier' <> %s)"
        " SELECT jsonb_path_query_array(plan, '$[*].table') FROM sent WHERE snapshot_at >="
        " (SELECT max(snapshot_at) FROM sent WHERE kind = 'complete')",
        [OLD_SYSTEM.system_identifier],
    ).fetchall()
    return frozenset(name for (names,) in rows for name in names) if rows else None


def read_allowed(connection: Connection) -> dict[str, str]:
    """Return the sha256 of the manifest that an operator approved, by archive name."""
    rows = connection.execute(
        "SELECT name, manifest_sha256 FROM ar_sync.allowed_archive"
        " WHERE manifest_sha256 IS NOT NULL"
    ).fetchall()
    return dict(rows)


def read_approvals(connection: Connection) -> dict[str, Approval]:
    """Return who approved each archive for the delete guard, and when, by archive name."""
    rows = connection.execute("SELECT name, allowed_by, allowed_at FROM ar_sync.allowed_archive")
    return {name: Approval(by, at) for name, by, at in rows}


def allow(
    connection: Connection, name: str, manifest_sha256: str, allowed_by: str, allowed_at: datetime
) -> None:
    """Record the approval of an archive for the delete guard, with who approved it and when."""
    connection.execute(
        "INSERT INTO ar_sync.allowed_archive (name, allowed_by, allowed_at, manifest_sha256)"
        " VALUES (%s, %s, %s, %s) ON CONFLICT (name) DO UPDATE SET"
        " allowed_by = excluded.allowed_by, allowed_at = excluded.allowed_at,"
        " manifest_sha256 = excluded.manifest_sha256"
        " WHERE allowed_archive.manifest_sha256 IS DISTINCT FROM excluded.manifest_sha256",
        [name, allowed_by, allowed_at, manifest_sha256],
    )


def record(
    connection: Connection,
    manifest: Manifest,
    applied_at: datetime,
    *,
    superseded: bool,
    plan: Sequence[dict[str, Any]],
    manifest_sha256: str,
    history: UUID | None,
) -> None:
    """Write an archive's row; an archive that is applied again keeps one row."""
    connection.execute(
        _RECORD,
        {
            "archive_id": manifest.archive_id,
            "name": manifest.name.applied,
            "kind": manifest.kind,
            "snapshot_at": manifest.snapshot_at,
            "window_start": manifest.window.start if manifest.window else None,
            "window_end": manifest.window.end if manifest.window else None,
            "covers_from": covers_from(manifest),
            "watermark": Jsonb(manifest.watermark.model_dump(mode="json")),
            "sender": Jsonb(manifest.sender.model_dump(mode="json")),
            "superseded": superseded,
            "applied_at": applied_at,
            "plan": Jsonb(list(plan)),
            "manifest_sha256": manifest_sha256,
            "history": history,
        },
    )


def supersede(connection: Connection, archive_ids: Collection[UUID]) -> None:
    """Note that newer archives carry all that these applied ones held."""
    connection.execute(
        "UPDATE ar_sync.applied_archive SET superseded = true WHERE archive_id = ANY (%s)",
        [list(archive_ids)],
    )


def read_admitted(connection: Connection) -> dict[str, str]:
    """Return the sha256 of each admitted archive's manifest at its verification, by name."""
    rows = connection.execute("SELECT name, manifest_sha256 FROM ar_sync.admitted_archive")
    return dict(rows.fetchall())


def admit(connection: Connection, name: str, manifest_sha256: str, admitted_at: datetime) -> None:
    """Record which bytes were verified under an archive's name: no others are loaded."""
    connection.execute(
        "INSERT INTO ar_sync.admitted_archive VALUES (%s, %s, %s) ON CONFLICT (name) DO UPDATE"
        " SET manifest_sha256 = excluded.manifest_sha256, admitted_at = excluded.admitted_at",
        [name, manifest_sha256, admitted_at],
    )


def forget_admitted(connection: Connection, but: Sequence[str]) -> None:
    """Delete the admissions of archives that are no longer in the spool, all but those named."""
    connection.execute(
        "DELETE FROM ar_sync.admitted_archive WHERE name <> ALL (%s::text[])", [list(but)]
    )


def summarize_ledger(
    connection: Connection, *, present: Collection[str], applied_before: datetime
) -> int:
    """Replace rows that are no longer needed by counts; return how many.

    Not replaced are the newest complete and all later archives (the chain, and what a replay
    applies), archives that are still in the spool (retention, and recovery of a restored database),
    and archives that were applied recently. An archive without a row that is sent again is
    recognized by its snapshot: it is older than the newest complete and therefore superseded.

    Args:
        present: Names of the archives in the spool, without the prefix of waiting ones.
        applied_before: Time limit; rows written since then are not replaced.
    """
    return (
        scalar(connection, _SUMMARIZE, {"present": list(present), "applied_before": applied_before})
        or 0
    )


def read_summarized(connection: Connection, *, superseded: bool) -> int:
    """Return how many applied, or superseded, archives have been replaced by a count."""
    row = connection.execute(
        "SELECT sum(archives) FROM ar_sync.archive_summary WHERE superseded = %s", [superseded]
    ).fetchone()
    return int(row[0] or 0) if row else 0


def covers_from(manifest: Manifest) -> datetime | None:
    """Return the time from which a partial contains every change; None: unknown, or a complete.

    It is also unknown after the sender's database has lost changes.
    """
    partial = manifest.kind is ArchiveKind.PARTIAL and not manifest.new_history
    return manifest.since.snapshot_at if partial and manifest.since else None


def _typed(row: AppliedArchive) -> AppliedArchive:
    return AppliedArchive(**{**vars(row), "kind": ArchiveKind(row.kind)})


_MAY_READ = """
SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'ar_sync' AND c.relname = %s
"""

# CREATE SCHEMA, with IF NOT EXISTS too, requires CREATE on the database (PostgreSQL manual, CREATE
# SCHEMA), which the role need not have if an administrator created the schema.
_EXISTING = (
    "SELECT to_regnamespace('ar_sync') IS NOT NULL,"
    " to_regclass('ar_sync.replicated_catalog') IS NOT NULL"
    " AND to_regclass('ar_sync.admitted_archive') IS NOT NULL"
    " AND to_regclass('ar_sync.archive_summary') IS NOT NULL"
    " AND to_regclass('ar_sync.table_definition') IS NOT NULL"
)
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
CREATE INDEX IF NOT EXISTS applied_archive_snapshot_at ON ar_sync.applied_archive (snapshot_at);
COMMENT ON TABLE ar_sync.applied_archive IS
    'Archives that this receiver has applied, written in the same transaction as their rows';
"""

# What is recorded must be readable; an unreadable row would stop every load.
_LINE = """
    archive_id, name, kind, snapshot_at, covers_from, window_start, window_end, superseded,
    applied_at, watermark ->> 'system_identifier' AS system_identifier,
    (watermark ->> 'timeline')::bigint AS timeline,
    split_part(watermark ->> 'snapshot', ':', 2)::bigint AS xmax,
    (watermark ->> 'lsn')::numeric::bigint AS lsn, manifest_sha256, history
"""
_RECORD = (
    """
INSERT INTO ar_sync.applied_archive VALUES (
    %(archive_id)s, %(name)s, %(kind)s, %(snapshot_at)s, %(window_start)s, %(window_end)s,
    %(covers_from)s, %(watermark)s, %(sender)s, %(superseded)s, %(applied_at)s, %(plan)s,
    %(manifest_sha256)s, %(history)s)
ON CONFLICT (archive_id) DO UPDATE SET
    superseded = excluded.superseded, applied_at = excluded.applied_at, plan = excluded.plan,
    manifest_sha256 = excluded.manifest_sha256
RETURNING """
    + _LINE
)
_SUMMARIZE = """
WITH removed AS (
    DELETE FROM ar_sync.applied_archive
     WHERE applied_at < %(applied_before)s
       AND name <> ALL (%(present)s::text[])
       AND snapshot_at < (SELECT max(snapshot_at) FROM ar_sync.applied_archive
                           WHERE kind = 'complete' AND NOT superseded)
    RETURNING kind, superseded, snapshot_at
), counted AS (
    INSERT INTO ar_sync.archive_summary AS known
    SELECT kind, superseded, count(*), min(snapshot_at), max(snapshot_at) FROM removed GROUP BY 1, 2
    ON CONFLICT (kind, superseded) DO UPDATE SET
        archives = known.archives + excluded.archives,
        first_snapshot_at = least(known.first_snapshot_at, excluded.first_snapshot_at),
        last_snapshot_at = greatest(known.last_snapshot_at, excluded.last_snapshot_at)
)
SELECT count(*) FROM removed
"""
