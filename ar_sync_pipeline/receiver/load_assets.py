"""The receiver's tables and media folder, which a load updates all or nothing.

Whichever of them a run selects, the whole load is done: only some tables would not be the state of
any one time. A run that does not select the admission starts with it all the same.
"""

from collections.abc import Iterator

import dagster as dg

from ar_sync_pipeline.operations.asset_keys import (
    admitted_key,
    applied_archives_key,
    receiver_media_key,
    receiver_table_key,
    unlisted_receiver_key,
)
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.operations.preflight_check import keep_preflight_shown
from ar_sync_pipeline.operations.runs.longer_runs import LongerRun
from ar_sync_pipeline.operations.selected_outputs import Result, whatever_is_selected
from ar_sync_pipeline.operations.space_check import space_check_result, space_check_spec
from ar_sync_pipeline.progress import progress_to
from ar_sync_pipeline.receiver.admission_asset import (
    admission_results,
    fail_on_refusals,
    record_made_good,
)
from ar_sync_pipeline.receiver.heartbeat import give_sign_of_life
from ar_sync_pipeline.receiver.ledger_metadata import (
    ledger_lists,
    observe_applied,
    observe_unapplied,
)
from ar_sync_pipeline.receiver.load_checks import (
    DIGESTS,
    LOADED,
    drift_before,
    load_check_results,
    load_check_specs,
)
from ar_sync_pipeline.receiver.load_metadata import (
    load_metadata,
    media_metadata,
    rows_by_table,
    table_metadata,
    unlisted_metadata,
)
from ar_sync_pipeline.receiver.load_specs import ledger_spec, load_step, media_spec, table_specs
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.sync.load.load_archives import LoadReport, load_archives
from ar_sync_pipeline.sync.watch.disk_space import filled_folders


def load_assets(site: ReceiverSite) -> dg.AssetsDefinition:
    """Return the second step of both load jobs: media files first, then rows in one transaction."""
    ledger, tables = applied_archives_key(site.names), table_specs(site)

    @dg.multi_asset(
        name=load_step(site.names),
        specs=[media_spec(site), *tables, ledger_spec(site, [spec.key for spec in tables])],
        check_specs=[
            *load_check_specs(site.names),
            _space_spec(ledger),
        ],
        pool=site.pool,
        can_subset=True,
    )
    @whatever_is_selected
    def load(context: dg.AssetExecutionContext) -> Iterator[Result]:
        if not _is_admitted_by(context, site):
            yield from admission_results(context, site)
        longer = LongerRun(context.instance, context.run.run_id)
        with operator_errors():
            with longer, progress_to(longer.progress):
                report = load_archives(site.settings, site.catalog, None, site.clock)
            record_made_good(context, report.lost, site)
            if report.loaded:
                give_sign_of_life(context, site.settings)
            space = load_space(context.instance, site)
        drift = drift_before(context.instance, site.names)
        yield from load_check_results(report, site.settings.partial_interval, site.names, drift)
        yield space
        if report.refused and not report.loaded:
            observe_unapplied(context, site)
            fail_on_refusals(ledger, report.refused, LOADED, DIGESTS)
        for warning in filter(None, (report.media.warning, report.left_out, report.unreported)):
            context.log.warning(str(warning))
        observe_applied(context, report, site)
        yield from _results(context, report, site)

    return load


def _is_admitted_by(context: dg.AssetExecutionContext, site: ReceiverSite) -> bool:
    """Return whether the admission is a step of this run, or of the run that this one continues."""
    return admitted_key(site.names) in context.job_def.asset_layer.executable_asset_keys


def _space_spec(ledger: dg.AssetKey) -> dg.AssetCheckSpec:
    return space_check_spec(ledger, "the spool and the media folder")


def load_space(instance: dg.DagsterInstance, site: ReceiverSite) -> dg.AssetCheckResult:
    """Measure the disks that a load fills."""
    settings, spec = site.settings, _space_spec(applied_archives_key(site.names))
    return space_check_result(instance, spec, filled_folders(settings), settings.free_space_floor)


def _results(
    context: dg.AssetExecutionContext, report: LoadReport, site: ReceiverSite
) -> Iterator[dg.MaterializeResult[None]]:
    """Yield what was loaded; otherwise the figures of the last load remain the newest ones."""
    if report.loaded:
        yield dg.MaterializeResult(
            asset_key=receiver_media_key(site.names), metadata=media_metadata(report)
        )
        yield from _table_results(report, site)
    else:
        context.log.info("Nothing was to be loaded: no archive that waits is newer than the data.")
    metadata = load_metadata(report, site.catalog, site.clock())
    keep_preflight_shown(context, applied_archives_key(site.names))
    yield dg.MaterializeResult(
        asset_key=applied_archives_key(site.names),
        metadata=metadata | ledger_lists(context, report, site),
    )


def _table_results(report: LoadReport, site: ReceiverSite) -> Iterator[dg.MaterializeResult[None]]:
    named = {
        name: receiver_table_key(site.catalog, name, site.names)
        for name in site.catalog.named_tables()
    }
    for table, plans in rows_by_table(report).items():
        if table in named:
            yield dg.MaterializeResult(
                asset_key=named[table], metadata=table_metadata(report, plans)
            )
    if not named:
        yield dg.MaterializeResult(
            asset_key=unlisted_receiver_key(site.names),
            metadata=unlisted_metadata(report, site.catalog),
        )
