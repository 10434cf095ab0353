"""A sensor that looks at the transform's checks also when no load comes and no run ends well.

In a run the checks are looked at behind the transform; what a dead transform leaves behind grows
old while nothing runs. A tick starts no run: it writes an evaluation, and only of what changed.
"""

import dagster as dg

from ar_sync_pipeline.operations.check_evaluation import evaluation_of
from ar_sync_pipeline.receiver.postprocess_checks import check_results
from ar_sync_pipeline.receiver.site import ReceiverSite

INTERVAL_SECONDS = 300


def postprocess_sensor(site: ReceiverSite) -> dg.SensorDefinition:
    """Looks every few minutes."""

    @dg.sensor(
        name="untransformed_rows",
        minimum_interval_seconds=INTERVAL_SECONDS,
        description="Looks for rows that the transform has left for too long or rejected, and"
        " shows them in the two checks of `postprocessed_rows`. Starts nothing.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def untransformed_rows(
        context: dg.SensorEvaluationContext,
    ) -> dg.SensorResult | dg.SkipReason:
        results = check_results(site)
        seen = " ".join(f"{r.check_name}={r.passed}:{r.description or ''}" for r in results)
        if seen == context.cursor:
            return dg.SkipReason("Nothing has changed since the last look.")
        return dg.SensorResult(asset_events=[evaluation_of(r) for r in results], cursor=seen)

    return untransformed_rows
