"""The ledger: applied archives of the receiver, written in the transaction that applies them.

It is in schema ``ar_sync`` of the receiver's database, so that rows and ledger can never disagree.
After a crash between the commit and the renaming of a file, the ledger shows that the archive is
already applied.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from ar_sync_pipeline.archive.converted import OLD_SYSTEM
from ar_sync_pipeline.archive.manifest import Manifest, SenderIdentity, Watermark
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.clock import CLOCK_TOLERANCE
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar


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
        unverified_chunks: Chunks that the archive could not verify, as in a receipt; None: there
            are none.
        cluster, database: Sender's database: system identifier of its cluster, and its name.
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
    unverified_chunks: dict[str, Any] | None = None
    cluster: str | None = None
    database: str | None = None


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

    Tables that a partial says are gone are none until a later archive has them again. Archives of
    the old system do not count, because they do not list all tables.
    """
    rows = connection.execute(_SENT, [OLD_SYSTEM.system_identifier]).fetchall()
    sent = frozenset[str]()
    for names, gone, _ in rows:
        sent = sent.difference(gone or ()).union(names)
    return sent if rows else None


def read_tables_still_sent(connection: Connection) -> frozenset[str]:
    """Return those of `read_sent_tables` that the sender surely had at the newest archive.

    A partial does not always say what is gone: its sender is of an earlier version, or lost its
    journal, or does not know whether the receiver reads it. Then a sender whose tables are not
    shaped as before may have dropped any that the archive has no rows of.
    """
    sent, shape = frozenset[str](), None
    for names, gone, fingerprint in connection.execute(_SENT, [OLD_SYSTEM.system_identifier]):
        kept = sent.difference(gone) if gone else sent if fingerprint == shape else ()
        sent, shape = frozenset(names).union(kept), fingerprint
    return sent


def read_plans(
    connection: Connection, archive_ids: Collection[UUID]
) -> dict[UUID, list[dict[str, Any]]]:
    """Return what was done to each table by the archives of these ids."""
    query = "SELECT archive_id, plan FROM ar_sync.applied_archive WHERE archive_id = ANY (%s)"
    return dict(connection.execute(query, [list(archive_ids)]).fetchall())


def record(
    connection: Connection,
    manifest: Manifest,
    applied_at: datetime,
    *,
    plan: Sequence[dict[str, Any]] | None,
    manifest_sha256: str,
    history: UUID | None,
    unverified_chunks: dict[str, Any] | None,
) -> None:
    """Write an archive's row; an archive that is applied again keeps one row.

    Args:
        plan: What was done to each table; None: the archive is superseded.
    """
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
            "superseded": plan is None,
            "applied_at": applied_at,
            "plan": Jsonb(list(plan or ())),
            "manifest_sha256": manifest_sha256,
            "history": history,
            "unverified_chunks": unverified_chunks and Jsonb(unverified_chunks),
            "gone": list(manifest.gone) or None,
            "schema_fingerprint": manifest.schema_fingerprint,
        },
    )


def supersede(connection: Connection, archive_ids: Collection[UUID]) -> None:
    """Note that newer archives carry all that these applied ones held."""
    connection.execute(
        "UPDATE ar_sync.applied_archive SET superseded = true WHERE archive_id = ANY (%s)",
        [list(archive_ids)],
    )


def date_superseded(connection: Connection, now: datetime) -> None:
    """Date superseded archives of a time when both sides' clocks were ahead as applied now.

    Neither of their dates tells when their lifetime ends.
    """
    connection.execute(
        "UPDATE ar_sync.applied_archive SET applied_at = %(now)s"
        " WHERE superseded AND least(applied_at, snapshot_at) > %(limit)s",
        {"now": now, "limit": now + CLOCK_TOLERANCE},
    )


def summarize_ledger(
    connection: Connection, *, present: Collection[str], applied_before: datetime
) -> int:
    """Replace rows that are no longer needed by counts; return how many.

    Not replaced are the newest complete and all later archives that are not superseded (the chain,
    and what a replay applies), archives that are still in the spool (retention, and recovery of a
    restored database), and archives that were applied recently. An archive without a row that is
    sent again is recognized by its snapshot: it is older than the newest complete and therefore
    superseded. One of a clock that was ahead is recognized by its place in the sender's history.

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
    query = "SELECT sum(archives) FROM ar_sync.archive_summary WHERE superseded = %s"
    return int(scalar(connection, query, [superseded]) or 0)


def covers_from(manifest: Manifest) -> datetime | None:
    """Return the time from which a partial contains every change; None: unknown, or a complete.

    It is also unknown after the sender's database has lost changes.
    """
    partial = manifest.kind is ArchiveKind.PARTIAL and not manifest.new_history
    return manifest.since.snapshot_at if partial and manifest.since else None


def _typed(row: AppliedArchive) -> AppliedArchive:
    return AppliedArchive(**{**vars(row), "kind": ArchiveKind(row.kind)})


# What is recorded must be readable; an unreadable row would stop every load.
_LINE = """
    archive_id, name, kind, snapshot_at, covers_from, window_start, window_end, superseded,
    applied_at, watermark ->> 'system_identifier' AS system_identifier,
    (watermark ->> 'timeline')::bigint AS timeline,
    split_part(watermark ->> 'snapshot', ':', 2)::bigint AS xmax,
    (watermark ->> 'lsn')::numeric::bigint AS lsn, manifest_sha256, history,
    unverified_chunks, sender ->> 'system_identifier' AS cluster, sender ->> 'database' AS database
"""
_SENT = """
WITH sent AS (SELECT * FROM ar_sync.applied_archive
               WHERE NOT superseded AND sender ->> 'system_identifier' <> %s)
SELECT jsonb_path_query_array(plan, '$[*] ? (!(@.sent == false)).table'), gone, schema_fingerprint
  FROM sent
 WHERE snapshot_at >= (SELECT max(snapshot_at) FROM sent WHERE kind = 'complete')
 ORDER BY snapshot_at
"""
_RECORD = (
    """
INSERT INTO ar_sync.applied_archive (
    archive_id, name, kind, snapshot_at, window_start, window_end, covers_from, watermark, sender,
    superseded, applied_at, plan, manifest_sha256, history, unverified_chunks, gone,
    schema_fingerprint)
VALUES (
    %(archive_id)s, %(name)s, %(kind)s, %(snapshot_at)s, %(window_start)s, %(window_end)s,
    %(covers_from)s, %(watermark)s, %(sender)s, %(superseded)s, %(applied_at)s, %(plan)s,
    %(manifest_sha256)s, %(history)s, %(unverified_chunks)s, %(gone)s,
    %(schema_fingerprint)s)
ON CONFLICT (archive_id) DO UPDATE SET
    superseded = excluded.superseded, applied_at = excluded.applied_at, plan = excluded.plan,
    manifest_sha256 = excluded.manifest_sha256, unverified_chunks = excluded.unverified_chunks
RETURNING """
    + _LINE
)
_SUMMARIZE = """
WITH removed AS (
    DELETE FROM ar_sync.applied_archive
     WHERE applied_at < %(applied_before)s
       AND name <> ALL (%(present)s::text[])
       AND (superseded OR snapshot_at < (SELECT max(snapshot_at) FROM ar_sync.applied_archive
                                          WHERE kind = 'complete' AND NOT superseded))
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
