"""A sensor that evaluates the transform's checks even if no load comes and every run fails.

A run evaluates the checks after the transform. If the transform fails, its rows grow old while
nothing runs.
"""

from datetime import timedelta

import dagster as dg

from ar_sync_pipeline.operations.standing_check import Evaluation, standing_check_sensor
from ar_sync_pipeline.receiver.postprocess_checks import check_results, check_specs
from ar_sync_pipeline.receiver.site import ReceiverSite

INTERVAL_SECONDS = 300
# Rows that waited while the receiver was off are transformed as soon as it is back.
_SETTLES = timedelta(minutes=10)


def postprocess_sensor(site: ReceiverSite) -> dg.SensorDefinition:
    """Return a sensor that evaluates both checks every five minutes."""
    return standing_check_sensor(
        check_specs(site),
        lambda _instance, _repository: [
            Evaluation(result, result.description or "", settles=_SETTLES)
            for result in check_results(site)
        ],
        site.clock,
        name=site.names.name("untransformed_rows"),
        description="Looks for rows that the transform has left for too long or rejected, and"
        " shows them in the checks of `postprocessed_rows`.",
        interval_seconds=INTERVAL_SECONDS,
    )
