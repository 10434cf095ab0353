"""Summaries of a manifest as plain values, for the command line and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.visible_text import counted

_SHOWN = 5


class TableRow(NamedTuple):
    """Figures of one table in an archive; bytes are those of the chunks that it carries."""

    table: str
    row_count: int
    chunk_count: int
    stored_bytes: int
    raw_bytes: int


def table_rows(manifest: Manifest) -> list[TableRow]:
    """Return rows, chunks and bytes of each table, in the order of the manifest."""
    return [
        TableRow(
            printable(table.name),
            table.row_count,
            len(table.chunks),
            table.carried_bytes,
            sum(chunk.raw_bytes for chunk in table.chunks if chunk.carried),
        )
        for table in manifest.tables
    ]


def facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the facts of an archive other than its tables, as (label, text)."""
    window, since = manifest.window, manifest.since
    lines = [
        ("archive", f"{manifest.name.applied} ({manifest.archive_id})"),
        ("kind", str(manifest.kind)),
        ("sender", f"{manifest.sender.name} {manifest.sender.database}".strip()),
        *([("pair", manifest.pair)] if manifest.pair else []),
        ("cluster", manifest.sender.system_identifier),
        ("made by", f"ar_sync_pipeline {manifest.product_version}, format {manifest.format}"),
        ("snapshot", f"{manifest.snapshot_at:%Y-%m-%d %H:%M:%S.%f %Z}"),
        ("window", f"{window.start.isoformat()} to {window.end.isoformat()}" if window else "all"),
        ("changes since", since.snapshot_at.isoformat() if since else "-"),
        ("watermark", manifest.watermark.snapshot),
        ("carries", _carries(manifest)),
        ("media", f"{counted(manifest.media_count, 'file')}, {manifest.media_bytes:,} bytes"),
        ("media omitted", _first(manifest.media_omitted)),
        ("column rules", _first(_column_rules(manifest))),
        ("migrations", f"{len(manifest.migrations)}, {len(manifest.migration_files)} with source"),
        ("signed", "yes" if manifest.hmac else "no"),
    ]
    return [(label, printable(text)) for label, text in lines]


def summary(manifest: Manifest) -> dict[str, Any]:
    """Return the stable shape of ``ar-sync inspect --json``."""
    dumped = manifest.model_dump(
        mode="json",
        include={
            "archive_id",
            "format",
            "kind",
            "migrations",
            "product_version",
            "schema_fingerprint",
            "sender",
            "since",
            "snapshot_at",
            "watermark",
            "window",
        },
    )
    return dumped | {
        "column_rules": {t.name: t.column_rules for t in manifest.tables if t.column_rules},
        "name": manifest.name.applied,
        "signed": manifest.hmac is not None,
        "row_count": manifest.row_count,
        "tables": [row._asdict() for row in table_rows(manifest)],
        "media": {
            "file_count": manifest.media_count,
            "size_bytes": manifest.media_bytes,
            "omitted": list(manifest.media_omitted),
        },
        **_carried_summary(manifest),
    }


def _carried_summary(manifest: Manifest) -> dict[str, Any]:
    """Return what a differential complete carries; nothing for other archives."""
    if manifest.base is None:
        return {}
    return {
        "carried": {
            "base": manifest.base.model_dump(mode="json"),
            "chunk_count": sum(_carried_chunks(manifest)),
            "changed_chunk_count": _changes(manifest),
            "file_count": manifest.carried_media_count,
        }
    }


def _carried_chunks(manifest: Manifest) -> list[bool]:
    """Return of each chunk whether it is carried."""
    return [chunk.carried for table in manifest.tables for chunk in table.chunks]


def _changes(manifest: Manifest) -> int:
    """Return how many chunks are carried as changes."""
    return sum(len(table.changes) for table in manifest.tables)


def _carries(manifest: Manifest) -> str:
    """Return in words what of the listed members the archive contains."""
    base = manifest.base
    if base is None:
        return "everything"
    chunks, changes = _carried_chunks(manifest), _changes(manifest)
    only = f", {changes} of them as changes that only the receiver can verify" if changes else ""
    return (
        f"{sum(chunks)} of {len(chunks)} chunks{only} and {manifest.carried_media_count} of"
        f" {manifest.media_count} files; the receiver should have the others since"
        f" {base.snapshot_at.isoformat()}"
    )


def _column_rules(manifest: Manifest) -> list[str]:
    return [
        f"{table.name}.{column} ({rule})"
        for table in manifest.tables
        for column, rule in table.column_rules.items()
    ]


def _first(names: Sequence[str]) -> str:
    """Return the number of names, and the first ones."""
    shown = ", ".join(names[:_SHOWN])
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)}: {shown}{more}" if names else "-"
