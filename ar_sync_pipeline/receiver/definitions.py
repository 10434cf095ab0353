"""The receiver's code location: it reads the settings and defines assets, jobs and sensors."""

import os
from collections.abc import Iterator, Mapping

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.operations.alerts.alert_scope import SharedSteps
from ar_sync_pipeline.operations.alerts.alerting import report_warnings, with_alerts
from ar_sync_pipeline.operations.alerts.problem_areas import DATABASE
from ar_sync_pipeline.operations.alerts.run_findings import step_source
from ar_sync_pipeline.operations.asset_keys import (
    admitted_key,
    applied_archives_key,
    of_side,
    postprocessed_key,
    receiver_table_key,
    unlisted_receiver_key,
)
from ar_sync_pipeline.operations.dagster_internals import AssetJob
from ar_sync_pipeline.operations.freshness import every_complete, with_freshness, within
from ar_sync_pipeline.operations.location_error import location_errors
from ar_sync_pipeline.operations.preflight_check import (
    examination,
    preflight_check,
    preflight_sensor,
    preflight_spec,
)
from ar_sync_pipeline.operations.runs.run_purge_job import purge_job, purge_schedule
from ar_sync_pipeline.operations.runs.watched_executor import shared_executor
from ar_sync_pipeline.package_files import linked_to
from ar_sync_pipeline.receiver.admission_asset import admission_asset
from ar_sync_pipeline.receiver.archive_sensors import archive_sensor, is_complete_to_load
from ar_sync_pipeline.receiver.arriving_archives import arriving_archives
from ar_sync_pipeline.receiver.empty_windows import load_empty_windows
from ar_sync_pipeline.receiver.expected_archives import request_for_expected
from ar_sync_pipeline.receiver.jobs import complete_loaddata, loads_partials_only, partial_loaddata
from ar_sync_pipeline.receiver.load_assets import load_assets
from ar_sync_pipeline.receiver.load_specs import load_step
from ar_sync_pipeline.receiver.postprocess_asset import postprocess_asset
from ar_sync_pipeline.receiver.postprocess_checks import check_specs
from ar_sync_pipeline.receiver.postprocess_sensor import postprocess_sensor
from ar_sync_pipeline.receiver.postprocessor import Postprocessor, choose_postprocessor
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.up_to_date_check import up_to_date_check, up_to_date_sensor
from ar_sync_pipeline.settings.model import ReceiverSettings, load_receiver_settings
from ar_sync_pipeline.sync.watch.preflight import sudden_problems


def definitions_of(environ: Mapping[str, str]) -> dg.Definitions:
    """Load the settings, report what is unwise in them, and return all definitions.

    Raises:
        SettingsError: A setting is missing, invalid or unknown.
    """
    settings = load_receiver_settings(environ)
    report_warnings(settings)
    return receiver_definitions(settings)


def receiver_definitions(settings: ReceiverSettings) -> dg.Definitions:
    """Return all definitions of a receiver with these settings.

    Raises:
        CatalogError: The catalog file is invalid.
        TransformSpecificationError: AR_SYNC_TRANSFORM is invalid, or selects built-in rules that do
            not fit this catalog's tables.
    """
    with linked_to(settings.docs_url):
        return _definitions(settings)


def _definitions(settings: ReceiverSettings) -> dg.Definitions:
    site = ReceiverSite(settings, load_catalog(settings.catalog), utc_now)
    names = site.names
    jobs = complete, partial = complete_loaddata(names), partial_loaddata(names)
    purge = purge_job(
        "receiver", settings.run_lifetime, [job.name for job in jobs], site.clock, names
    )
    postprocessor = choose_postprocessor(site)
    ledger, examine = applied_archives_key(names), examination(settings, site.catalog, site.clock)
    definitions = dg.Definitions(
        assets=dg.map_asset_specs(of_side("receiver", names), _assets(site, postprocessor)),
        asset_checks=[up_to_date_check(site), preflight_check(ledger, examine, site.clock)],
        jobs=[*jobs, purge],
        schedules=[purge_schedule(names)],
        executor=shared_executor(),
        sensors=list(_sensors(site, complete, partial, postprocessor)),
    )
    # One outage of the database is one incident, also while the preflight is re-examined. So is a
    # transform that fails: it leaves and rejects the rows that its checks find.
    muted = {preflight_spec(ledger).key: DATABASE.cause}
    if postprocessor:
        failed_transform = step_source(postprocessed_key(names).to_python_identifier())
        muted |= dict.fromkeys((one.key for one in check_specs(site)), failed_transform)
    # Partials are loaded every few minutes, whatever prevents the load of a complete.
    shared = SharedSteps(
        frozenset({admitted_key(names).to_python_identifier(), load_step(names)}),
        lambda run: loads_partials_only(run, names),
        lambda: is_complete_to_load(site),
    )
    return with_alerts(definitions, settings, site.clock, muted=muted, shared=shared)


def _assets(
    site: ReceiverSite, postprocessor: Postprocessor | None
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    return [
        *arriving_archives(site),
        admission_asset(site),
        with_freshness(load_assets(site), _policies(site)),
        *([_postprocess(site, postprocessor)] if postprocessor else []),
    ]


def _sensors(
    site: ReceiverSite, complete: AssetJob, partial: AssetJob, postprocessor: Postprocessor | None
) -> Iterator[dg.SensorDefinition]:
    yield archive_sensor(site, ArchiveKind.COMPLETE, complete)
    yield archive_sensor(
        site,
        ArchiveKind.PARTIAL,
        partial,
        lambda context: load_empty_windows(context, site, postprocessor),
        lambda instance: request_for_expected(instance, site),
    )
    yield up_to_date_sensor(site)
    yield preflight_sensor(
        applied_archives_key(site.names),
        examination(site.settings, site.catalog, site.clock),
        name=site.names.name("receiver_preflight"),
        clock=site.clock,
        side=site.names.name("receiver"),
        hint=lambda: sudden_problems(site.settings, site.clock),
    )
    if postprocessor:
        yield postprocess_sensor(site)


def _policies(site: ReceiverSite) -> dict[dg.AssetKey, dg.FreshnessPolicy]:
    """Return the freshness policies: every load writes the ledger, a complete all tables."""
    settings, catalog = site.settings, site.catalog
    complete = every_complete(settings.complete_cron, settings.timezone)
    tables = [receiver_table_key(catalog, table, site.names) for table in catalog.named_tables()]
    tables = tables or [unlisted_receiver_key(site.names)]
    ledger = applied_archives_key(site.names)
    return {**dict.fromkeys(tables, complete), ledger: within(settings.max_lag)}


def _postprocess(site: ReceiverSite, postprocessor: Postprocessor) -> dg.AssetsDefinition:
    """Return the asset of the transform, which follows every load."""
    policy = within(site.settings.max_lag + site.settings.transform_max_age)
    return with_freshness(
        postprocess_asset(site, postprocessor), {postprocessed_key(site.names): policy}
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Load the settings from the environment and return the definitions; report all errors."""
    with location_errors():
        return definitions_of(os.environ)
