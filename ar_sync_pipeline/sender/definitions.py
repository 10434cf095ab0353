"""The sender's code location: reads the settings, names assets, jobs and schedules."""

import os
from datetime import UTC, datetime

import dagster as dg

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.operations.alerting import report_warnings, with_alerts
from ar_sync_pipeline.operations.asset_keys import endpoint_key
from ar_sync_pipeline.operations.problem_areas import ENDPOINT
from ar_sync_pipeline.operations.windows import window_partitions
from ar_sync_pipeline.sender.acknowledgement_check import acknowledgement_check_spec
from ar_sync_pipeline.sender.complete_assets import complete_assets
from ar_sync_pipeline.sender.endpoint_asset import CHECK, endpoint_check, endpoint_spec
from ar_sync_pipeline.sender.jobs import complete_dump, partial_dump, ssh_sftp_checker
from ar_sync_pipeline.sender.partial_assets import partial_assets
from ar_sync_pipeline.sender.schedules import checker_schedule, complete_schedule, partial_schedule
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.settings import SenderSettings, load_sender_settings


def sender_definitions(settings: SenderSettings) -> dg.Definitions:
    """Everything that a sender with these settings does.

    Raises:
        CatalogError: the catalog file is wrong.
    """
    site = SenderSite(settings, load_catalog(settings.catalog), _now)
    windows = window_partitions(
        _now(),
        days_back=settings.partitions_start,
        interval_minutes=settings.partial_interval,
    )
    complete, partial, checker = complete_dump(), partial_dump(), ssh_sftp_checker()
    definitions = dg.Definitions(
        assets=[*complete_assets(site), *partial_assets(site, windows), endpoint_spec()],
        asset_checks=[endpoint_check(site)],
        jobs=[complete, partial, checker],
        schedules=[
            complete_schedule(settings, complete),
            partial_schedule(partial, windows),
            checker_schedule(checker),
        ],
    )
    return with_alerts(
        definitions,
        settings,
        site.clock,
        checks_of_areas={dg.AssetCheckKey(endpoint_key(), CHECK): ENDPOINT},
        # While the receiver cannot be reached nobody can hear it either.
        muted={acknowledgement_check_spec().key: ENDPOINT.cause},
    )


def _now() -> datetime:
    return datetime.now(UTC)


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads: the settings come from the environment, wrong ones are all named."""
    settings = load_sender_settings(os.environ)
    report_warnings(settings)
    return sender_definitions(settings)
