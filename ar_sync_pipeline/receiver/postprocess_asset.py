"""The transform step: what the visualization computes from loaded rows.

It has its own state (rows marked untransformed), so it can fail and be run again without touching
the load.
"""

from collections.abc import Iterator
from contextlib import suppress

import dagster as dg

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.operations.asset_keys import applied_archives_key, postprocessed_key
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.operations.check_history import delete_overtaken
from ar_sync_pipeline.operations.runs.longer_runs import allow_for
from ar_sync_pipeline.receiver.admission_asset import GROUP
from ar_sync_pipeline.receiver.postprocess_checks import check_results, check_specs
from ar_sync_pipeline.receiver.postprocessor import Postprocessor
from ar_sync_pipeline.receiver.site import ReceiverSite


def postprocess_asset(site: ReceiverSite, postprocessor: Postprocessor) -> dg.AssetsDefinition:
    """Return the last step of both load jobs."""

    @dg.asset(
        key=postprocessed_key(site.names),
        # Not the tables themselves: a load without rows of one of them would skip this step.
        deps=[applied_archives_key(site.names)],
        group_name=site.names.name(GROUP),
        description="What the visualization derives from loaded rows"
        f" (`{site.settings.transform}`). Works on every row that is not marked transformed,"
        " whatever archive brought it; may be materialized alone at any time.",
        kinds={"python"},
        pool=site.names.name("receiver_postprocess"),
        check_specs=check_specs(site),
    )
    def postprocessed_rows(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
        timeout_seconds = 60.0 * site.settings.transform_timeout
        allow_for(context.instance, context.run.run_id, timeout_seconds)
        try:
            with operator_errors():
                metadata = postprocessor.run(context)
        except dg.Failure:
            # The error to show is the transform's, even if the checks of its rows fail, too.
            with suppress(ArSyncError):
                yield from _check_results(context, site)
            raise
        with operator_errors():
            results = _check_results(context, site)
        yield dg.MaterializeResult(
            asset_key=postprocessed_key(site.names), metadata=dict(metadata), check_results=results
        )

    return postprocessed_rows


def _check_results(
    context: dg.AssetExecutionContext, site: ReceiverSite
) -> list[dg.AssetCheckResult]:
    results = check_results(site)
    for spec in check_specs(site):
        delete_overtaken(context.instance, spec.key, context.run.run_id)
    return results
