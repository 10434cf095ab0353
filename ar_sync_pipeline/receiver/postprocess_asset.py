"""The transform step: what the visualization computes from loaded rows.

It has a state of its own (rows marked untransformed), so it can fail and be run again without
touching the load.
"""

import dagster as dg

from ar_sync_pipeline.operations.asset_keys import postprocessed_key, receiver_table_key
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.receiver.admission_asset import GROUP
from ar_sync_pipeline.receiver.postprocess_command import run_command
from ar_sync_pipeline.receiver.site import OWNERS, ReceiverSite
from ar_sync_pipeline.sync.postprocess import builtin_metadata, command_words, run_builtin
from ar_sync_pipeline.transform.specification import (
    BuiltinTransform,
    CommandTransform,
    parse_transform,
)


def postprocess_assets(site: ReceiverSite) -> list[dg.AssetsDefinition]:
    """The last step of both load jobs; none when AR_SYNC_TRANSFORM is ``none``."""
    transform = parse_transform(site.settings.transform)
    if not isinstance(transform, BuiltinTransform | CommandTransform):
        return []
    tables = [receiver_table_key(site.catalog, table) for table in site.catalog.named_tables()]

    @dg.asset(
        key=postprocessed_key(),
        deps=tables,
        group_name=GROUP,
        description="What the visualization derives from loaded rows"
        f" (`{site.settings.transform}`). Works on every row that is not marked transformed,"
        " whatever archive brought it; may be materialized alone at any time.",
        kinds={"python"},
        owners=OWNERS,
        pool="receiver_postprocess",
    )
    def postprocessed_rows(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with operator_errors():
            if isinstance(transform, BuiltinTransform):
                return dg.MaterializeResult(
                    metadata=builtin_metadata(run_builtin(site.settings, site.clock))
                )
            return run_command(
                context,
                command_words(site.settings, transform),
                timeout_seconds=60.0 * site.settings.transform_timeout,
            )

    return [postprocessed_rows]
