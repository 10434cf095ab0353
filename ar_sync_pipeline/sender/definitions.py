"""The sender's code location: it reads the settings and defines assets, jobs and schedules."""

import os
from collections.abc import Iterator, Mapping
from datetime import timedelta

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.operations.alerts.alerting import report_warnings, with_alerts
from ar_sync_pipeline.operations.alerts.problem_areas import DATABASE, ENDPOINT, MEDIA_REFERENCES
from ar_sync_pipeline.operations.asset_keys import endpoint_key, of_side
from ar_sync_pipeline.operations.dagster_internals import AssetJob
from ar_sync_pipeline.operations.freshness import every_complete, every_window, with_freshness
from ar_sync_pipeline.operations.location_error import location_errors
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.operations.preflight_check import (
    examination,
    preflight_check,
    preflight_sensor,
    preflight_spec,
)
from ar_sync_pipeline.operations.runs.run_purge_job import purge_job, purge_schedule
from ar_sync_pipeline.operations.runs.watched_executor import shared_executor
from ar_sync_pipeline.operations.windows import window_partitions
from ar_sync_pipeline.package_files import linked_to
from ar_sync_pipeline.sender.acknowledgement_check import acknowledgement_check_spec
from ar_sync_pipeline.sender.archive_assets import references_check
from ar_sync_pipeline.sender.complete_assets import complete_assets
from ar_sync_pipeline.sender.early_runs import early_sensor
from ar_sync_pipeline.sender.endpoint_asset import CHECK, endpoint_check, endpoint_spec, first_check
from ar_sync_pipeline.sender.grid_start import grid_start
from ar_sync_pipeline.sender.jobs import complete_dump, partial_dump, ssh_sftp_checker
from ar_sync_pipeline.sender.lacking_sensor import lacking_sensor
from ar_sync_pipeline.sender.partial_assets import partial_assets
from ar_sync_pipeline.sender.schedules import checker_schedule, complete_schedule, partial_schedule
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.window_check import no_gap_check, no_gap_sensor, no_gap_spec
from ar_sync_pipeline.settings.model import SenderSettings, load_sender_settings

_READ_THE_DATABASE = ("complete_tables", "partial_archive")


def definitions_of(environ: Mapping[str, str]) -> dg.Definitions:
    """Load the settings, report what is unwise in them, and return all definitions.

    Raises:
        SettingsError: A setting is missing, invalid or unknown.
    """
    settings = load_sender_settings(environ)
    report_warnings(settings)
    return sender_definitions(settings)


def sender_definitions(settings: SenderSettings) -> dg.Definitions:
    """Return all definitions of a sender with these settings.

    Raises:
        CatalogError: The catalog file is invalid.
    """
    with linked_to(settings.docs_url):
        return _definitions(settings)


def _definitions(settings: SenderSettings) -> dg.Definitions:
    site = SenderSite(settings, load_catalog(settings.catalog), utc_now)
    windows = window_partitions(
        utc_now(),
        days_back=settings.partitions_start,
        interval_minutes=settings.partial_interval,
        first=grid_start(settings, utc_now()),
    )
    names = site.names
    complete, partial, checker = (
        make(names) for make in (complete_dump, partial_dump, ssh_sftp_checker)
    )
    jobs = [complete, partial, checker]
    endpoint, examine = endpoint_key(names), examination(settings, site.catalog, site.clock)
    purge = purge_job(
        "sender", settings.run_lifetime, [job.name for job in jobs], site.clock, names
    )
    definitions = dg.Definitions(
        assets=dg.map_asset_specs(
            of_side("sender", names), [*_fresh(site, windows), endpoint_spec(names)]
        ),
        asset_checks=[
            endpoint_check(site),
            no_gap_check(site, windows),
            preflight_check(endpoint, examine, site.clock),
        ],
        jobs=[*jobs, purge],
        executor=shared_executor(),
        schedules=[
            complete_schedule(site, complete),
            partial_schedule(partial, windows, site.clock, names),
            checker_schedule(site, checker),
            purge_schedule(names),
        ],
        sensors=list(_sensors(site, complete, partial, windows)),
    )
    return with_alerts(
        definitions,
        settings,
        site.clock,
        checks_of_areas={dg.AssetCheckKey(endpoint, CHECK): ENDPOINT}
        | {references_check(site, kind).key: MEDIA_REFERENCES for kind in ArchiveKind},
        muted=dict.fromkeys(_consequences_of_the_link(names), ENDPOINT.cause),
        proofs=dict.fromkeys(map(names.name, _READ_THE_DATABASE), DATABASE.cause),
    )


def _consequences_of_the_link(names: PairNames) -> list[dg.AssetCheckKey]:
    """Return checks that fail too if the receiver is unreachable.

    Its answers cannot be read then, and windows cannot be sent.
    """
    specs = (
        acknowledgement_check_spec(names),
        no_gap_spec(names),
        preflight_spec(endpoint_key(names)),
    )
    return [spec.key for spec in specs]


def _sensors(
    site: SenderSite,
    complete: AssetJob,
    partial: AssetJob,
    windows: dg.TimeWindowPartitionsDefinition,
) -> Iterator[dg.SensorDefinition]:
    yield no_gap_sensor(site, windows)
    yield lacking_sensor(site, complete)
    yield from _early(site, partial, windows)
    names = site.names
    yield preflight_sensor(
        endpoint_key(names),
        examination(site.settings, site.catalog, site.clock),
        name=names.name("sender_preflight"),
        clock=site.clock,
        side=names.name("sender"),
        further=lambda instance, found: first_check(site, instance, found.link),
    )


def _fresh(
    site: SenderSite, windows: dg.TimeWindowPartitionsDefinition
) -> Iterator[dg.AssetsDefinition]:
    """Yield all assets of the dumps, with their freshness policies."""
    settings = site.settings
    for assets in complete_assets(site):
        policy = every_complete(settings.complete_cron, settings.timezone)
        yield with_freshness(assets, dict.fromkeys(assets.keys, policy))
    for assets in partial_assets(site, windows):
        policy = every_window(settings.partial_interval)
        yield with_freshness(assets, dict.fromkeys(assets.keys, policy))


def _early(
    site: SenderSite, job: AssetJob, windows: dg.TimeWindowPartitionsDefinition
) -> Iterator[dg.SensorDefinition]:
    """Yield the sensor of early runs, unless they are switched off."""
    settings = site.settings
    if settings.start_early:
        interval = timedelta(minutes=settings.partial_interval)
        early = timedelta(seconds=settings.start_early)
        yield early_sensor(job, windows, site.clock, site.names, interval=interval, early=early)


@dg.definitions
def defs() -> dg.Definitions:
    """Load the settings from the environment and return the definitions; report all errors."""
    with location_errors():
        return definitions_of(os.environ)
