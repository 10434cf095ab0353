"""What operators see of a load: rows by table, chunks, media, and how far behind it is."""

from datetime import datetime
from typing import Any

import dagster as dg

from ar_sync_pipeline.postgres.merge import TablePlan
from ar_sync_pipeline.sync.load import LoadReport


def rows_by_table(report: LoadReport) -> dict[str, list[TablePlan]]:
    """The plans of all archives of a load, by table."""
    plans: dict[str, list[TablePlan]] = {}
    for archive in report.loaded:
        for plan in archive.tables:
            plans.setdefault(plan.table, []).append(plan)
    return plans


def table_metadata(plans: list[TablePlan]) -> dict[str, Any]:
    """What a load did to one table."""
    return {
        "rows_shipped": sum(plan.row_count for plan in plans),
        "rows_added": sum(plan.added for plan in plans),
        "rows_changed": sum(plan.changed for plan in plans),
        "rows_deleted": sum(plan.deleted for plan in plans),
        "drift_repaired": sum(plan.drift or 0 for plan in plans),
    }


def media_metadata(report: LoadReport) -> dict[str, Any]:
    """What a load did to the media folder."""
    return {
        "files_installed": sum(archive.media_installed for archive in report.loaded),
        "files_unchanged": sum(archive.media_unchanged for archive in report.loaded),
        "files_removed": report.media.removed,
        **({"files_not_removed": report.media.warning} if report.media.warning else {}),
    }


def load_metadata(report: LoadReport, now: datetime) -> dict[str, Any]:
    """The load as a whole."""
    until = report.chain.until if report.chain else None
    holes = report.chain.holes if report.chain else ()
    totals = {
        table: table_metadata(plans) for table, plans in sorted(rows_by_table(report).items())
    }
    lines = ["| table | added | changed | deleted | drift repaired |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {table} | {t['rows_added']:,} | {t['rows_changed']:,} | {t['rows_deleted']:,}"
        f" | {t['drift_repaired']:,} |"
        for table, t in totals.items()
        if t["rows_added"] or t["rows_changed"] or t["rows_deleted"]
    ]
    return {
        "data_until": until.isoformat() if until else "no complete archive yet",
        "lag_seconds": round((now - until).total_seconds(), 1) if until else -1.0,
        "holes": len(holes),
        "archives_applied": len(report.loaded),
        "archives_put_aside": len(report.refused),
        "archives_superseded": len(report.superseded),
        "rows_by_table": dg.MetadataValue.md("\n".join(lines)),
        "drift_repaired": sum(t["drift_repaired"] for t in totals.values()),
        "chunks": sum(archive.chunks for archive in report.loaded),
        "chunks_staged": sum(archive.chunks_staged for archive in report.loaded),
    }
