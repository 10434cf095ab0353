"""Assets that are made together, of which a run may have been asked for some only."""

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import wraps

import dagster as dg

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
        for result in step(context):
            if isinstance(result, dg.AssetCheckResult):
                yield from _selected([result], checks)
            elif result.asset_key in assets:
                yield result
            else:
                yield from _selected(result.check_results or (), checks)

    return selected


def _selected(
    results: Iterable[dg.AssetCheckResult], checks: AbstractSet[dg.AssetCheckKey]
) -> Iterator[dg.AssetCheckResult]:
    """Those that were asked for; every result here names its asset and its check."""
    for result in results:
        if any(
            key.asset_key == result.asset_key and key.name == result.check_name for key in checks
        ):
            yield result
