"""The heartbeat after a load that has applied an archive."""

import dagster as dg

from ar_sync_pipeline.alerts.errors import DeliveryError
from ar_sync_pipeline.alerts.heartbeat import beat
from ar_sync_pipeline.settings.model import ReceiverSettings


def give_sign_of_life(
    context: dg.AssetExecutionContext | dg.SensorEvaluationContext, settings: ReceiverSettings
) -> None:
    """Call AR_SYNC_HEARTBEAT_URL if it is set; only log an error, because the load is done."""
    if settings.heartbeat_url is None:
        return
    try:
        beat(settings.heartbeat_url.get_secret_value())
    except DeliveryError as error:
        context.log.warning("The load is applied, its sign of life did not get through. %s", error)
