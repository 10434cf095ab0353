"""The ledger as lists: applied archives, archives that are not applied, and approvals.

The column of the UI that shows them is narrow and truncates a wide table; a list is wrapped.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.operations.asset_keys import applied_archives_key, archive_key
from ar_sync_pipeline.operations.run_metadata import Link, markdown_list
from ar_sync_pipeline.operations.windows import keys_of, window_in_words
from ar_sync_pipeline.postgres.approved_archives import Approval
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.sync.load.load_archives import LoadReport
from ar_sync_pipeline.sync.load.load_outcome import LoadedArchive
from ar_sync_pipeline.sync.watch.unapplied import LedgerView, UnappliedArchive, view_ledger
from ar_sync_pipeline.visible_text import as_code, as_markdown

_SHOWN = 50


Context = dg.AssetExecutionContext | dg.SensorEvaluationContext


def ledger_lists(context: Context, report: LoadReport, site: ReceiverSite) -> dict[str, Any]:
    """Return the archives that a load has applied, and those that are still not applied."""
    view = _view(context, site)
    if view is None:
        return {}
    return {
        **_applied(report, view.approvals, site),
        **unapplied_metadata(view),
    }


def observe_unapplied(context: dg.AssetExecutionContext, site: ReceiverSite) -> None:
    """Report the list as an observation of the ledger, for a run that fails before it."""
    view = _view(context, site)
    if view is not None:
        context.log_event(
            dg.AssetObservation(applied_archives_key(site.names), metadata=unapplied_metadata(view))
        )


def _view(context: Context, site: ReceiverSite) -> LedgerView | None:
    """Return the ledger after a load or its failure; None if it cannot be read.

    An error is only logged: a list must not hide the result of the load.
    """
    try:
        return view_ledger(site.settings)
    except ArSyncError as error:
        context.log.warning("The lists of the ledger are not shown. %s", error)
        return None


def unapplied_metadata(view: LedgerView) -> dict[str, Any]:
    """Return everything that waits, is parked or is quarantined, in one list with what to do."""
    return {
        "archives_not_applied": len(view.unapplied),
        "not_applied": markdown_list([_described(one) for one in view.unapplied[:_SHOWN]]),
    }


def _described(archive: UnappliedArchive) -> str:
    command = f" {as_code(archive.command)}" if archive.command else ""
    return (
        f"{as_code(archive.name)} **{archive.state}** since {archive.since:%Y-%m-%d %H:%M} UTC:"
        f" {as_markdown(archive.reason)}; to do: {as_markdown(archive.remedy)}."
        f"{command}"
    )


def _applied(
    report: LoadReport, approvals: Mapping[str, Approval], site: ReceiverSite
) -> dict[str, Any]:
    """Return the archives that a load has applied, each with a link to its window."""
    lines = [
        f"{_link(archive.manifest.window, site)}:"
        f" {as_code(archive.manifest.name.applied)}, {archive.manifest.row_count:,} rows,"
        f" {archive.size_bytes / 1000:,.1f} KB{_remarks(archive, approvals)}"
        for archive in report.loaded[-_SHOWN:]
    ]
    return {"applied": markdown_list(lines)} if lines else {}


def observe_applied(
    context: dg.AssetExecutionContext, report: LoadReport, site: ReceiverSite
) -> None:
    """Report as observations of the sender's archives, by window, which run applied them."""
    for observation in observations(report, dg.MetadataValue.dagster_run(context.run.run_id), site):
        context.log_event(observation)


def observations(
    report: LoadReport, applied_by: dg.MetadataValue, site: ReceiverSite
) -> Iterator[dg.AssetObservation]:
    """Yield observations of the archives that a load has applied for the first time, by window."""
    for archive in report.loaded:
        if not archive.again:
            yield from _observations(archive, applied_by, site)


def _observations(
    archive: LoadedArchive, applied_by: dg.MetadataValue, site: ReceiverSite
) -> Iterator[dg.AssetObservation]:
    manifest, window = archive.manifest, archive.manifest.window
    keys = _keys(window, site.settings.partial_interval)
    metadata: dict[str, Any] = {
        "applied_by": applied_by,
        "applied_at": dg.MetadataValue.timestamp(site.clock()),
        "archive": manifest.name.applied,
        **({"window": window_in_words(window.start, window.end, len(keys))} if window else {}),
    }
    partitions: list[str | None] = [*keys] or [None]
    for key in partitions:
        yield dg.AssetObservation(
            archive_key(manifest.kind, site.names), partition=key, metadata=metadata
        )


def _keys(window: Window | None, interval_minutes: int) -> list[str]:
    return keys_of(window.start, window.end, interval_minutes) if window else []


def _link(window: Window | None, site: ReceiverSite) -> Link:
    kind = ArchiveKind.PARTIAL if window else ArchiveKind.COMPLETE
    page = f"/assets/{archive_key(kind, site.names).to_user_string()}"
    if window is None:
        return Link("all rows", page)
    keys = _keys(window, site.settings.partial_interval)
    return Link(
        window_in_words(window.start, window.end, len(keys)),
        f"{page}?view=partitions&partition={keys[-1]}",
    )


def _remarks(archive: LoadedArchive, approvals: Mapping[str, Approval]) -> str:
    approval = approvals.get(archive.manifest.name.applied)
    remarks = "; applied again after an older one" if archive.again else ""
    if archive.recovered:
        remarks += "; applied by a load that was killed after its commit"
    if approval is None:
        return remarks
    return (
        f"{remarks}; let through the delete guard by {as_markdown(approval.allowed_by)} at"
        f" {approval.allowed_at:%Y-%m-%d %H:%M} UTC"
    )
