"""The receiver's jobs, under the names that they had in the old system."""

import dagster as dg

from ar_sync_pipeline.operations.asset_job import JOB_OWNERS, AssetJob
from ar_sync_pipeline.operations.asset_keys import admitted_key, applied_archives_key
from ar_sync_pipeline.operations.preflight_check import preflight_spec
from ar_sync_pipeline.receiver.admission_asset import GROUP
from ar_sync_pipeline.receiver.load_specs import TABLES_GROUP

_LONGEST_SECONDS = 6 * 3600


def _load_job(name: str, kinds: list[str], description: str) -> AssetJob:
    admitted = admitted_key().to_python_identifier()
    return dg.define_asset_job(
        name,
        # The preflight belongs to the start of the code location, not to each load.
        selection=dg.AssetSelection.groups(GROUP, TABLES_GROUP)
        - dg.AssetSelection.checks(preflight_spec(applied_archives_key()).key),
        description=description,
        owners=JOB_OWNERS,
        config={"ops": {admitted: {"config": {"kinds": kinds}}}},
        tags={"dagster/max_runtime": str(_LONGEST_SECONDS), "ar_sync/side": "receiver"},
    )


def complete_loaddata() -> AssetJob:
    """Load waiting completes, and the partials that belong behind them."""
    return _load_job(
        "complete_loaddata",
        ["complete", "partial"],
        "Verify and load the newest complete archive and every later partial, then postprocess.",
    )


def partial_loaddata() -> AssetJob:
    """Load every waiting partial."""
    return _load_job(
        "partial_loaddata",
        ["partial"],
        "Verify and load every waiting partial archive, oldest first, then postprocess.",
    )
