"""The receiver's jobs, named as in the old system."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import admitted_key, applied_archives_key
from ar_sync_pipeline.operations.dagster_internals import AssetJob
from ar_sync_pipeline.operations.owners import OWNERS
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.operations.preflight_check import preflight_spec
from ar_sync_pipeline.operations.runs.run_state import work_under_way
from ar_sync_pipeline.receiver.admission_asset import GROUP
from ar_sync_pipeline.receiver.load_specs import TABLES_GROUP
from ar_sync_pipeline.receiver.site import ReceiverSite

_COMPLETE, _PARTIAL = "complete_loaddata", "partial_loaddata"
_LONGEST_SECONDS = 6 * 3600


def load_jobs(names: PairNames) -> tuple[str, str]:
    """Return the names of both jobs, that of completes first."""
    return names.name(_COMPLETE), names.name(_PARTIAL)


def load_under_way(instance: dg.DagsterInstance, site: ReceiverSite) -> str | None:
    """Return a load of either kind that is at work, as a text; None if there is none."""
    key = applied_archives_key(site.names)
    works = (work_under_way(instance, job, key, site.clock()) for job in load_jobs(site.names))
    return next((work for work in works if work is not None), None)


def intake_of(
    kinds: Sequence[str], names: PairNames, until: datetime | None = None
) -> dict[str, Any]:
    """Return the run configuration of a load of these kinds, which waits for one until a time."""
    admitted = admitted_key(names).to_python_identifier()
    config: dict[str, Any] = {"kinds": [*map(str, kinds)]}
    if until is not None:
        config["waits_until"] = until.timestamp()
    return {"ops": {admitted: {"config": config}}}


def loads_partials_only(run: dg.DagsterRun, names: PairNames) -> bool:
    """Return whether a load leaves completes alone, by its configuration or else by its job."""
    admitted = admitted_key(names).to_python_identifier()
    given: Any = run.run_config
    kinds = given.get("ops", {}).get(admitted, {}).get("config", {}).get("kinds")
    if kinds is not None:
        return ArchiveKind.COMPLETE not in kinds
    return run.job_name == load_jobs(names)[1]


def _load_job(names: PairNames, name: str, kinds: list[str], description: str) -> AssetJob:
    return dg.define_asset_job(
        names.name(name),
        # The preflight belongs to the start of the code location, not to each load.
        selection=dg.AssetSelection.groups(names.name(GROUP), names.name(TABLES_GROUP))
        - dg.AssetSelection.checks(preflight_spec(applied_archives_key(names)).key),
        description=description,
        owners=OWNERS,
        config=intake_of(kinds, names),
        tags=names.job_tags("receiver", _LONGEST_SECONDS),
    )


def complete_loaddata(names: PairNames) -> AssetJob:
    """Return the job that loads completes, and the partials after them."""
    return _load_job(
        names,
        _COMPLETE,
        ["complete", "partial"],
        "Verify and load the newest complete archive and every later partial, then postprocess.",
    )


def partial_loaddata(names: PairNames) -> AssetJob:
    """Return the job that loads every waiting partial."""
    return _load_job(
        names,
        _PARTIAL,
        ["partial"],
        "Verify and load every waiting partial archive, oldest first, then postprocess. The sensor"
        " asks for a complete that waits in the same run: later partials begin where it ends.",
    )
