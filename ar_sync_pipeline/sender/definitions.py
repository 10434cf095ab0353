"""The sender's code location: reads the settings, names assets, jobs and schedules."""

import os
from datetime import UTC, datetime

import dagster as dg

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.operations.windows import window_partitions
from ar_sync_pipeline.sender.complete_assets import complete_assets
from ar_sync_pipeline.sender.endpoint_asset import endpoint_check, endpoint_spec
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
    return dg.Definitions(
        assets=[*complete_assets(site), *partial_assets(site, windows), endpoint_spec()],
        asset_checks=[endpoint_check(site)],
        jobs=[complete, partial, checker],
        schedules=[
            complete_schedule(settings, complete),
            partial_schedule(partial, windows),
            checker_schedule(checker),
        ],
    )


def _now() -> datetime:
    return datetime.now(UTC)


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads: the settings come from the environment, wrong ones are all named."""
    return sender_definitions(load_sender_settings(os.environ))
