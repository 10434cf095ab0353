"""Metadata of a dump: rows, bytes, columns, media files, transfer."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from ar_sync_pipeline.archive.manifest import Column, TableManifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.operations.asset_keys import qualified_name, short_name
from ar_sync_pipeline.operations.run_metadata import column_schema, markdown_table, seconds_by_phase
from ar_sync_pipeline.sync.dump.bundle_media import MediaBundle
from ar_sync_pipeline.sync.dump.publish import PublishedArchive
from ar_sync_pipeline.sync.dump.table_dump import TableDump

_SHOWN = 20


def table_metadata(table: TableManifest, catalog: Catalog) -> dict[str, Any]:
    """Return the rows and the size of a table in the archive."""
    return {
        "dagster/row_count": table.row_count,
        "dagster/table_name": qualified_name(catalog, table.name),
        **column_schema(table.columns, table.primary_key),
        "size_bytes": table.carried_bytes,
        "compression_ratio": _ratio([table]),
        "chunks": len(table.chunks),
        "chunks_carried": sum(chunk.carried for chunk in table.chunks),
        "chunks_carried_as_changes": len(table.changes),
    }


def no_rows_metadata(
    columns: Sequence[Column] | None, table: str, catalog: Catalog
) -> dict[str, Any]:
    """Return metadata of a table without rows in the archive: zeros, so that plots have no gaps.

    Args:
        columns: Columns of the table; None: the sender has no such table.
        table: Label of the table.
        catalog: The catalog.
    """
    return {
        "dagster/row_count": 0,
        "dagster/table_name": qualified_name(catalog, table),
        **(column_schema(columns) if columns else {}),
        "size_bytes": 0,
        "chunks": 0,
    }


def unlisted_metadata(tables: Sequence[TableManifest], catalog: Catalog) -> dict[str, Any]:
    """Return metadata of the tables that the catalog does not name, with the rows of each."""
    return {
        "dagster/row_count": sum(table.row_count for table in tables),
        "tables": len(tables),
        "size_bytes": sum(table.carried_bytes for table in tables),
        "chunks": sum(len(table.chunks) for table in tables),
        "rows_by_table": _rows_as_table(tables, catalog),
    }


def referenced_metadata(
    tables: Sequence[TableManifest], dump: TableDump, catalog: Catalog
) -> dict[str, Any]:
    """Return metadata of several tables, with the rows of each as a table."""
    since = dump.since
    return {
        "dagster/partition_row_count": sum(table.row_count for table in tables),
        "tables": len(tables),
        "size_bytes": sum(table.carried_bytes for table in tables),
        "snapshot_at": dg.MetadataValue.timestamp(dump.watermark.snapshot_at),
        "carries_changes_since": dg.MetadataValue.timestamp(since.snapshot_at)
        if since
        else "the window's start",
        "rows_by_table": _rows_as_table(tables, catalog),
    }


def media_metadata(bundle: MediaBundle) -> dict[str, Any]:
    """Return numbers of files and bytes, of missing and refused names, and of omitted files."""
    return {
        "files": bundle.file_count,
        "size_bytes": bundle.size_bytes,
        "missing_files": bundle.missing_count,
        "refused_names": bundle.refused_count,
        "omitted_files": len(bundle.omitted),
        "files_that_the_receiver_has": bundle.held,
        "seconds": round(bundle.seconds, 3),
        **({"omitted": _names(bundle.omitted)} if bundle.omitted else {}),
    }


def lost_names(bundle: MediaBundle) -> dict[str, Any]:
    """Return the first names that were not found, refused or late; nothing if there are none."""
    missing = ((name, "no such file") for name in bundle.missing)
    lost = [*missing, *bundle.refused, *bundle.late]
    if not lost:
        return {}
    return {"names": _names(lost)}


def archive_metadata(archive: PublishedArchive, catalog: Catalog) -> dict[str, Any]:
    """Return metadata of the archive and its transfer; long values come last."""
    manifest, transfer = archive.manifest, archive.publication
    partial = manifest.kind is ArchiveKind.PARTIAL
    seconds = max(transfer.seconds, 0.001)
    return {
        "archive": manifest.name.applied,
        "snapshot_at": dg.MetadataValue.timestamp(manifest.snapshot_at),
        "snapshot_age_seconds": round(archive.age.total_seconds(), 1),
        f"dagster/{'partition_row_count' if partial else 'row_count'}": manifest.row_count,
        "size_bytes": archive.size_bytes,
        "compression_ratio": _ratio(manifest.tables),
        "carries": "everything"
        if manifest.base is None
        else f"what differs from the complete of {manifest.base.snapshot_at:%Y-%m-%d %H:%M} UTC",
        "members_not_carried": manifest.not_carried_count,
        "media_files": manifest.media_count,
        "media_bytes": manifest.carried_media_bytes,
        "media_omitted": len(manifest.media_omitted),
        **seconds_by_phase(archive.seconds),
        "upload_mb_per_second": round(transfer.sent_bytes / 1e6 / seconds, 1),
        "resumed_bytes": transfer.resumed_bytes,
        "attempts": transfer.attempts,
        "connections": transfer.connections,
        "verified_by": "sha256, computed by the receiver"
        if transfer.sha256_confirmed
        else "size, since the server computes no sha256",
        **({"sent": "nothing, the archive was published before"} if transfer.already_there else {}),
        "archive_id": str(manifest.archive_id),
        "rows_by_table": _rows_as_table(manifest.tables, catalog),
    }


def _names(
    pairs: Sequence[tuple[str, str]],
) -> dg.MarkdownMetadataValue | str:
    return markdown_table(("name", "problem"), pairs[:_SHOWN])


def _rows_as_table(
    tables: Sequence[TableManifest], catalog: Catalog
) -> dg.MarkdownMetadataValue | str:
    return markdown_table(
        ("table", "rows", "KB"),
        [
            (short_name(catalog, table.name), table.row_count, round(table.carried_bytes / 1000, 1))
            for table in sorted(tables, key=lambda table: -table.row_count)
            if table.row_count
        ],
    )


def _ratio(tables: Sequence[TableManifest]) -> float:
    """Return the compression ratio of the rows; 1.0 if there are no rows."""
    stored = sum(table.carried_bytes for table in tables)
    raw = sum(chunk.raw_bytes for table in tables for chunk in table.chunks if chunk.carried)
    return round(raw / stored, 2) if stored else 1.0
