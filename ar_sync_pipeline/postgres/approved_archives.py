"""Archives that a load may apply: verified, or approved by an operator; they are in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ar_sync_pipeline.postgres.connect import Connection


@dataclass(frozen=True)
class Approval:
    """Who approved an archive for the delete guard, and when."""

    allowed_by: str
    allowed_at: datetime


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
    """Delete the admissions of all archives but those named."""
    connection.execute(
        "DELETE FROM ar_sync.admitted_archive WHERE name <> ALL (%s::text[])", [list(but)]
    )
