"""What operators see of a dump: rows, bytes, columns, media, transfer."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from ar_sync_pipeline.archive.manifest import TableManifest
from ar_sync_pipeline.sync.bundle_media import MediaBundle
from ar_sync_pipeline.sync.dump_tables import TableDump
from ar_sync_pipeline.sync.publish import PublishedArchive

_SHOWN = 20


def table_metadata(table: TableManifest, schema: str) -> dict[str, Any]:
    """A table's rows and size in the archive."""
    stored = sum(chunk.size_bytes for chunk in table.chunks)
    raw = sum(chunk.raw_bytes for chunk in table.chunks)
    return {
        "dagster/row_count": table.row_count,
        "dagster/table_name": f"{schema}.{table.name}",
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(
                    column.name,
                    column.type,
                    constraints=dg.TableColumnConstraints(nullable=column.nullable),
                )
                for column in table.columns
            ]
        ),
        "size_bytes": stored,
        "compression_ratio": round(raw / stored, 2) if stored else 1.0,
        "chunks": len(table.chunks),
    }


def dump_summary(tables: Sequence[TableManifest], dump: TableDump) -> dict[str, Any]:
    """Several tables at once, with the rows of each as a table."""
    lines = ["| table | rows | KB |", "|---|--:|--:|"]
    lines += [
        f"| {t.name} | {t.row_count:,} | {sum(c.size_bytes for c in t.chunks) / 1000:,.1f} |"
        for t in tables
        if t.row_count
    ]
    return {
        "dagster/row_count": sum(table.row_count for table in tables),
        "rows_by_table": dg.MetadataValue.md("\n".join(lines)),
        "snapshot_at": dump.watermark.snapshot_at.isoformat(),
        "carries_changes_since": dump.since.snapshot_at.isoformat() if dump.since else "window",
    }


def media_metadata(bundle: MediaBundle) -> dict[str, Any]:
    """Files, bytes, and the names that could not be found."""
    return {
        "files": len(bundle.entries),
        "size_bytes": bundle.size_bytes,
        "missing_files": len(bundle.missing),
        "refused_names": len(bundle.refused),
        "missing_names": dg.MetadataValue.json(list(bundle.missing[:_SHOWN])),
        "refused": dg.MetadataValue.json([list(pair) for pair in bundle.refused[:_SHOWN]]),
    }


def archive_metadata(archive: PublishedArchive) -> dict[str, Any]:
    """The archive in the spool and its transfer."""
    manifest, transfer = archive.manifest, archive.publication
    seconds = max(transfer.seconds, 0.001)
    return {
        "archive": manifest.name.applied,
        "archive_id": str(manifest.archive_id),
        "dagster/row_count": manifest.row_count,
        "size_bytes": archive.size_bytes,
        "media_files": len(manifest.media),
        "snapshot_at": manifest.snapshot_at.isoformat(),
        "upload_seconds": round(transfer.seconds, 3),
        "upload_mb_per_second": round(transfer.sent_bytes / 1e6 / seconds, 1),
        "resumed_bytes": transfer.resumed_bytes,
        "attempts": transfer.attempts,
        "connections": transfer.connections,
        "sha256_confirmed": transfer.sha256_confirmed,
        "already_there": transfer.already_there,
    }
