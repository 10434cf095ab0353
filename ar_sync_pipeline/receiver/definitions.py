"""The receiver's code location: reads the settings, names assets, jobs and sensors."""

import os
from datetime import UTC, datetime

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.operations.alerting import report_warnings, with_alerts
from ar_sync_pipeline.receiver.admission_asset import admission_asset
from ar_sync_pipeline.receiver.archive_sensors import archive_sensor
from ar_sync_pipeline.receiver.jobs import complete_loaddata, partial_loaddata
from ar_sync_pipeline.receiver.load_assets import load_assets
from ar_sync_pipeline.receiver.postprocess_asset import postprocess_asset
from ar_sync_pipeline.receiver.postprocess_sensor import postprocess_sensor
from ar_sync_pipeline.receiver.postprocessor import choose_postprocessor
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.settings import ReceiverSettings, load_receiver_settings


def receiver_definitions(settings: ReceiverSettings) -> dg.Definitions:
    """Everything that a receiver with these settings does.

    Raises:
        CatalogError: the catalog file is wrong.
        TransformSpecificationError: AR_SYNC_TRANSFORM is wrong, or asks for built-in rules that
            this catalog's tables are not made for.
    """
    site = ReceiverSite(settings, load_catalog(settings.catalog), _now)
    complete, partial = complete_loaddata(), partial_loaddata()
    postprocessor = choose_postprocessor(site)
    definitions = dg.Definitions(
        assets=[
            admission_asset(site),
            load_assets(site),
            *([postprocess_asset(site, postprocessor)] if postprocessor else []),
        ],
        jobs=[complete, partial],
        sensors=[
            archive_sensor(site, ArchiveKind.COMPLETE, complete),
            archive_sensor(site, ArchiveKind.PARTIAL, partial),
            *([postprocess_sensor(site)] if postprocessor else []),
        ],
    )
    return with_alerts(definitions, settings, site.clock)


def _now() -> datetime:
    return datetime.now(UTC)


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads: the settings come from the environment, wrong ones are all named."""
    settings = load_receiver_settings(os.environ)
    report_warnings(settings)
    return receiver_definitions(settings)
