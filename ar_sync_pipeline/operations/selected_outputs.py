"""Assets that are made together, of which a run may have been asked for some only."""

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import wraps

import dagster as dg

from ar_sync_pipeline.operations.check_evaluation import evaluation_of

Results = Iterator[dg.MaterializeResult | dg.AssetCheckResult]
Step = Callable[[dg.AssetExecutionContext], Results]


def only_what_is_selected(step: Step) -> Step:
    """Report those results of a step that its run was asked for; the work is the same.

    For ``can_subset=True``, without which Dagster 1.13 refuses to backfill partitioned assets that
    are made together and depend on each other (it holds subsets against each other by ``!=``, which
    also compares a count that only one of them has computed).
    """

    @wraps(step)
    def selected(context: dg.AssetExecutionContext) -> Results:
        assets, checks = context.selected_asset_keys, context.selected_asset_check_keys
        windowed = context.has_partition_key or context.has_partition_key_range
        for result in _chosen(step(context), assets, checks):
            if windowed:
                yield result
            else:
                _tell(context, result)

    return selected


def _chosen(
    results: Results, assets: AbstractSet[dg.AssetKey], checks: AbstractSet[dg.AssetCheckKey]
) -> Results:
    for result in results:
        if isinstance(result, dg.AssetCheckResult):
            yield from _selected([result], checks)
        elif result.asset_key in assets:
            yield result
        else:
            yield from _selected(result.check_results or (), checks)


def _tell(
    context: dg.AssetExecutionContext, result: dg.MaterializeResult | dg.AssetCheckResult
) -> None:
    """Report what a run without a window has made.

    Dagster cannot take it as an output: it would look up to which windows the inputs belong.
    """
    if isinstance(result, dg.AssetCheckResult):
        context.log_event(evaluation_of(result))
        return
    if result.asset_key is None:
        raise ValueError("a result names its asset where several are made together")
    context.log_event(dg.AssetMaterialization(result.asset_key, metadata=result.metadata))
    for check in result.check_results or ():
        context.log_event(evaluation_of(check))


def _selected(
    results: Iterable[dg.AssetCheckResult], checks: AbstractSet[dg.AssetCheckKey]
) -> Iterator[dg.AssetCheckResult]:
    """Those that were asked for; every result here names its asset and its check."""
    for result in results:
        if any(
            key.asset_key == result.asset_key and key.name == result.check_name for key in checks
        ):
            yield result
