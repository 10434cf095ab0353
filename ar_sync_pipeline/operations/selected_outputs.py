"""Steps that make several assets, when a run selects only some of them."""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

import dagster as dg

from ar_sync_pipeline.operations.check_evaluation import evaluation_of, key_of
from ar_sync_pipeline.operations.check_history import (
    delete_overtaken,
    forget_planned,
    shown_evaluation,
)
from ar_sync_pipeline.operations.dagster_internals import DATA_VERSION_TAG

Result = dg.MaterializeResult[None] | dg.AssetCheckResult
Results = Iterator[Result]
Step = Callable[..., Results]

# Metadata of an asset in every partition; other figures belong to one archive.
_DESCRIPTIONS = frozenset({"dagster/table_name", "dagster/column_schema"})


def whatever_is_selected(step: Step) -> Step:
    """Run a step completely, whichever of its assets a run selects, and report all results.

    Results that the run did not select are reported as events, because they were made all the same.

    The step needs ``can_subset=True``. Without it Dagster 1.13 refuses to backfill partitioned
    assets that are made together and depend on each other: it compares subsets with ``!=``, which
    also compares a count that only one of them has computed.
    """

    @wraps(step)
    def whole(context: dg.AssetExecutionContext, **config: object) -> Results:
        ranged = _has_windows(context) and context.has_partition_key_range
        # In a run without a window, Dagster would look up the windows of an output's inputs.
        outputs = _has_windows(context) or not context.assets_def.partitions_def
        for result in _keeping_findings(context, _parts(step(context, **config))):
            if isinstance(result, dg.AssetCheckResult):
                delete_overtaken(context.instance, key_of(result), context.run.run_id)
            else:
                _keep_shown(context, result)
            if not outputs or not _is_selected(context, result):
                _report(context, result)
            elif isinstance(result, dg.MaterializeResult) and ranged:
                yield _with_figures_once(context, result)
            else:
                yield result

    return whole


def _has_windows(context: dg.AssetExecutionContext) -> bool:
    """Return whether a step is for windows: a run for some may have assets without any, too."""
    of_run = context.has_partition_key or context.has_partition_key_range
    return context.assets_def.partitions_def is not None and of_run


def _parts(results: Results) -> Results:
    """Yield each asset and each check separately: a run may select one without the other."""
    for result in results:
        if isinstance(result, dg.AssetCheckResult):
            yield result
        else:
            yield result._replace(check_results=[])
            yield from result.check_results or ()


def _keeping_findings(context: dg.AssetExecutionContext, results: Results) -> Results:
    """Yield the results of a step; if it fails or is canceled, keep shown what was found before.

    Otherwise the UI shows "Execution failed" for every check that this run planned, though an
    earlier finding may still be true, until the next run.
    """
    try:
        yield from results
    except GeneratorExit:
        # Dagster refused a result; the run may be in a later step when this is disposed of.
        raise
    except BaseException:
        forget_planned(context.instance, context.run.run_id)
        raise


def _keep_shown(context: dg.AssetExecutionContext, result: dg.MaterializeResult[None]) -> None:
    """Record the findings of later steps' checks again: a sensor's is older than the new asset.

    The UI would show "Not evaluated" until the later step has evaluated the check.
    """
    graph = context.job_def.asset_layer.asset_graph
    keys = {dg.AssetKey.from_coercible(result.asset_key)} if result.asset_key else set()
    for check in graph.get_check_keys_for_assets(keys) - set(context.assets_def.check_keys):
        shown = shown_evaluation(context.instance, check)
        if shown is not None:
            context.log_event(shown)
            delete_overtaken(context.instance, check, context.run.run_id)


def _is_selected(context: dg.AssetExecutionContext, result: Result) -> bool:
    if isinstance(result, dg.AssetCheckResult):
        return key_of(result) in context.selected_asset_check_keys
    return result.asset_key in context.selected_asset_keys


def _with_figures_once(
    context: dg.AssetExecutionContext, result: dg.MaterializeResult[None]
) -> dg.MaterializeResult[None]:
    """Report the figures only for the newest window, so that an archive's size is counted once."""
    metadata = dict(result.metadata or {})
    newest = context.partition_keys[-1]
    context.add_asset_metadata(metadata, asset_key=result.asset_key, partition_key=newest)
    return result._replace(metadata=_of_other_windows(metadata, newest))


def _of_other_windows(metadata: Mapping[str, Any], newest: str) -> dict[str, Any]:
    kept = {name: value for name, value in metadata.items() if name in _DESCRIPTIONS}
    return {**kept, "figures_at_window": newest}


def _report(context: dg.AssetExecutionContext, result: Result) -> None:
    """Report what is not an output of this run as events, one for each of its windows."""
    if isinstance(result, dg.AssetCheckResult):
        context.log_event(evaluation_of(result))
        return
    if result.asset_key is None:
        raise ValueError("a result names its asset where several are made together")
    metadata, version = dict(result.metadata or {}), result.data_version
    tags = {DATA_VERSION_TAG: version.value} if version else None
    windows = context.partition_keys if _has_windows(context) else [None]
    for window in windows:
        is_newest = window == windows[-1]
        shown = metadata if is_newest else _of_other_windows(metadata, str(windows[-1]))
        context.log_event(
            dg.AssetMaterialization(result.asset_key, metadata=shown, partition=window, tags=tags)
        )
