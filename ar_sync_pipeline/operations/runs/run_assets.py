"""Which assets a run concerns, whether it materializes them or executes their checks."""

from collections.abc import Collection

import dagster as dg

from ar_sync_pipeline.operations.pair_names import pair_and_path

# Their steps only evaluate; *Execute* of any other check does the work that the check is about.
EVALUATED_ALONE = frozenset({"up_to_date", "no_gap_in_windows", "preflight"})
"""Names of checks of dumps and loads that are steps of their own."""
_STEPS_OF_THEIR_OWN = frozenset({"admitted_archives", "postprocessed_rows"})


def assets_of(run: dg.DagsterRun) -> frozenset[dg.AssetKey]:
    """Return the assets that a run by hand materializes, or of which it evaluates a check."""
    checked = {check.asset_key for check in run.asset_check_selection or ()}
    return frozenset(run.asset_selection or ()) | checked


def works_on(run: dg.DagsterRun, key: dg.AssetKey) -> bool:
    """Return whether a run by hand does the dump, load or transform that makes an asset."""
    checks = run.asset_check_selection or ()
    made = {check.asset_key for check in checks if check.name not in EVALUATED_ALONE}
    return made_with(key, made.union(run.asset_selection or ()))


def made_with(key: dg.AssetKey, others: Collection[dg.AssetKey]) -> bool:
    """Return whether to make one of some assets is to make an asset, too."""
    return _work(key) in map(_work, others)


def _work(key: dg.AssetKey) -> tuple[str, ...]:
    """Return what makes an asset: one of a dump or load is made with all others."""
    found = pair_and_path(key)
    if found is None:
        return tuple(key.path)
    pair, (root, *rest) = found
    return (pair, root, *(rest if rest[:1] and rest[0] in _STEPS_OF_THEIR_OWN else ()))
