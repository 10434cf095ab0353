"""Metadata of a load: rows by table, chunks, media files, seconds, and lag."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.merge.table_plan import TablePlan
from ar_sync_pipeline.operations.asset_keys import short_name
from ar_sync_pipeline.operations.run_metadata import column_schema, markdown_table, seconds_by_phase
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.sync.load.load_archives import LoadReport
from ar_sync_pipeline.sync.load.net_rows import NetRows
from ar_sync_pipeline.sync.load.unverified_tables import unverified_in_words
from ar_sync_pipeline.visible_text import listed


def rows_by_table(report: LoadReport) -> dict[str, list[TablePlan]]:
    """Return the plans of all archives of a load, by table."""
    plans: dict[str, list[TablePlan]] = {}
    for archive in report.loaded:
        for plan in archive.tables:
            plans.setdefault(plan.table, []).append(plan)
    return plans


def table_metadata(report: LoadReport, plans: Sequence[TablePlan]) -> dict[str, Any]:
    """Return what a load did to one table, and the table's columns.

    The number of all rows is given only if the last archive is a complete, which counts them.
    """
    facts = report.tables.get(plans[-1].table)
    whole = report.loaded[-1].manifest.kind is ArchiveKind.COMPLETE
    return {
        **_changes(report, {plans[-1].table: plans}),
        "rows_exported": sum(plan.row_count for plan in plans),
        **({"dagster/row_count": plans[-1].row_count} if whole else {}),
        **(_schema(report, facts) if facts else {}),
    }


def unlisted_metadata(report: LoadReport, catalog: Catalog) -> dict[str, Any]:
    """Return what a load did to the tables of a catalog of only patterns, with the rows of each."""
    plans = rows_by_table(report)
    return {
        "tables": len(plans),
        **_changes(report, plans),
        "rows_exported": sum(plan.row_count for table in plans.values() for plan in table),
        "rows_by_table": _rows_as_table(report, plans, catalog),
    }


def media_metadata(report: LoadReport) -> dict[str, Any]:
    """Return what a load did to the media folder."""
    return {
        "files_installed": sum(archive.media_installed for archive in report.loaded),
        "files_unchanged": sum(archive.media_unchanged for archive in report.loaded),
        "bytes_installed": sum(archive.media_bytes for archive in report.loaded),
        "seconds": round(report.seconds.get("media", 0.0), 3),
        "files_removed": report.media.removed,
        **({"files_not_removed": report.media.warning} if report.media.warning else {}),
        "files_left_out": sum(archive.media_left_out_count for archive in report.loaded),
        **({"left_out": report.left_out} if report.left_out else {}),
        **_not_counted(report),
    }


def load_metadata(report: LoadReport, catalog: Catalog, now: datetime) -> dict[str, Any]:
    """Return metadata of the whole load; long values come last.

    Without a loaded archive there are no figures of rows and chunks.
    """
    if not report.loaded:
        return {**_progress(report, now), "archives_applied": 0}
    plans = rows_by_table(report)
    return {
        **_progress(report, now),
        "archives_applied": len(report.loaded),
        "archives_rejected": len(report.refused),
        "archives_superseded": len(report.superseded),
        **_changes(report, plans),
        "size_bytes": sum(archive.size_bytes for archive in report.loaded),
        "chunks": sum(archive.chunks for archive in report.loaded),
        "chunks_staged": sum(archive.chunks_staged for archive in report.loaded),
        **_unverified(plans),
        **seconds_by_phase(report.seconds),
        **_not_counted(report),
        **_fired(report),
        **({"filled_slowly": report.obstacle} if report.obstacle else {}),
        "rows_by_table": _rows_as_table(report, plans, catalog),
    }


def _unverified(plans: dict[str, list[TablePlan]]) -> dict[str, int]:
    """Return the number of chunks that the next complete carries and verifies; nothing if none."""
    chunks = sum(plan.unverified for table in plans.values() for plan in table)
    return {"chunks_unverified_until_the_next_complete": chunks} if chunks else {}


def _not_counted(report: LoadReport) -> dict[str, str]:
    """Return what the figures lack after a load that was killed after its commit."""
    names = [one.manifest.name.applied for one in report.loaded if one.recovered]
    if not names:
        return {}
    said = f"chunks and media files of {', '.join(listed(names))}, whose load was killed"
    return {"not_counted": said}


def _fired(report: LoadReport) -> dict[str, str]:
    """Return the receiver's triggers that fired for replicated rows; nothing if none did."""
    fired = sorted({name for archive in report.loaded for name in archive.fired})
    return {"triggers_fired": ", ".join(fired)} if fired else {}


def _progress(report: LoadReport, now: datetime) -> dict[str, Any]:
    if report.chain is None:
        return {"data_until": "no complete archive has been applied yet", "gaps": 0}
    return {
        "data_until": dg.MetadataValue.timestamp(report.chain.until),
        "lag_seconds": round((now - report.chain.until).total_seconds(), 1),
        "gaps": len(report.chain.gaps),
        **_unverified_tables(report),
    }


def _unverified_tables(report: LoadReport) -> dict[str, str]:
    """Return the tables that the next complete has to verify; nothing if there are none."""
    said = unverified_in_words(report.unverified)
    return {"tables_unverified": said} if said else {}


def _changes(report: LoadReport, plans: Mapping[str, Sequence[TablePlan]]) -> dict[str, int]:
    """Return the net result for some tables: a row that two archives contain counts once."""
    rows = sum((report.net[table] for table in plans), NetRows())
    return {
        "rows_added": rows.added,
        "rows_changed": rows.changed,
        "rows_deleted": rows.deleted,
        "drift_repaired": sum(plan.drift or 0 for found in plans.values() for plan in found),
    }


def _rows_as_table(
    report: LoadReport, plans: Mapping[str, Sequence[TablePlan]], catalog: Catalog
) -> dg.MarkdownMetadataValue | str:
    totals = [(table, _changes(report, {table: found})) for table, found in sorted(plans.items())]
    return markdown_table(
        ("table", "added", "changed", "deleted"),
        [
            (short_name(catalog, table), t["rows_added"], t["rows_changed"], t["rows_deleted"])
            for table, t in totals
            if any(t.values())
        ],
    )


def _schema(report: LoadReport, facts: TableFacts) -> dict[str, Any]:
    shared = {
        column.name
        for archive in report.loaded
        for table in archive.manifest.tables
        if table.name == facts.name
        for column in table.columns
    }
    return column_schema(
        facts.columns, facts.primary_key, is_receiver_only=lambda name: name not in shared
    )
