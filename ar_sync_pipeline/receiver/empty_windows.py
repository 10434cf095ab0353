"""Loads of empty archives in the tick of the sensor that finds them, without a run.

The process of a run takes seconds of processor to start, the load of an empty archive a tenth of a
second. The events are those of a run: the ledger is materialized, and each check is evaluated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import dagster as dg

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.operations.asset_keys import (
    UNVERSIONED,
    admitted_key,
    applied_archives_key,
    postprocessed_key,
)
from ar_sync_pipeline.operations.check_evaluation import evaluation_of
from ar_sync_pipeline.operations.check_history import stays_shown
from ar_sync_pipeline.operations.dagster_internals import DATA_VERSION_TAG
from ar_sync_pipeline.operations.preflight_check import shown_preflight
from ar_sync_pipeline.operations.repository_id import repository_of_tick
from ar_sync_pipeline.operations.run_metadata import settings_metadata
from ar_sync_pipeline.operations.runs.run_state import has_last_run_failed
from ar_sync_pipeline.postgres.session_settings import short_lock_waits
from ar_sync_pipeline.receiver.admission_asset import admission_checks, admission_metadata
from ar_sync_pipeline.receiver.heartbeat import give_sign_of_life
from ar_sync_pipeline.receiver.jobs import load_jobs
from ar_sync_pipeline.receiver.ledger_metadata import ledger_lists, observations
from ar_sync_pipeline.receiver.load_assets import load_space
from ar_sync_pipeline.receiver.load_checks import drift_before, load_check_results
from ar_sync_pipeline.receiver.load_metadata import load_metadata
from ar_sync_pipeline.receiver.postprocess_builtin import BuiltinPostprocessor, metadata_of_no_rows
from ar_sync_pipeline.receiver.postprocess_checks import results_of
from ar_sync_pipeline.receiver.postprocessor import Postprocessor
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.up_to_date_check import check_lag
from ar_sync_pipeline.sync.load.empty_archives import EmptyLoad, load_empty_archives
from ar_sync_pipeline.sync.load.postprocess import postprocess_state

# Dagster ends a tick after a minute, without a reason. A run waits for longer, and names who locks.
_LONGEST_LOCK_WAIT = "500ms"

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation


def load_empty_windows(
    context: dg.SensorEvaluationContext, site: ReceiverSite, postprocessor: Postprocessor | None
) -> dg.SensorResult | None:
    """Load the waiting archives if all are empty; None if a run is needed.

    A run is also needed for a command as transform, which runs after every load, for rows that wait
    for the transform, while another session locks a table, and after a failed run, whose incident
    ends with a run that succeeds.
    """
    ledger = applied_archives_key(site.names)
    if has_last_run_failed(context.instance, load_jobs(site.names), ledger):
        return None
    try:
        with short_lock_waits(_LONGEST_LOCK_WAIT):
            transformed = _nothing_to_transform(site, postprocessor)
            if transformed is None:
                return None
            load = load_empty_archives(site.settings, site.catalog, site.clock)
        if load is None or _is_anything_rejected(load):
            return None
        give_sign_of_life(context, site.settings)
        return dg.SensorResult(asset_events=[*_events(context, load, transformed, site)])
    except ArSyncError as error:
        context.log.warning("A run tries again to load the archives. %s", error)
        return None


def _nothing_to_transform(
    site: ReceiverSite, postprocessor: Postprocessor | None
) -> list[dg.AssetCheckResult] | None:
    """Return the results of the transform's checks; None if the transform is to be run."""
    if postprocessor is None:
        return []
    if not isinstance(postprocessor, BuiltinPostprocessor):
        return None
    state = postprocess_state(site.settings, site.catalog, site.clock)
    return None if any(table.rows for table in state.waiting) else results_of(state, site)


def _is_anything_rejected(load: EmptyLoad) -> bool:
    """Return whether a run has to report why an archive was rejected."""
    return bool(load.admission.rejected or load.report.refused)


def _events(
    context: dg.SensorEvaluationContext,
    load: EmptyLoad,
    transformed: Sequence[dg.AssetCheckResult],
    site: ReceiverSite,
) -> Iterator[Event]:
    """Yield what a run would write; a finding that stays shown is not written again."""
    instance, ledger = context.instance, applied_archives_key(site.names)
    yield dg.AssetMaterialization(
        admitted_key(site.names),
        metadata=admission_metadata(load.admission) | settings_metadata(site.settings),
        tags={DATA_VERSION_TAG: UNVERSIONED.value},
    )
    yield dg.AssetMaterialization(
        ledger,
        metadata=load_metadata(load.report, site.catalog, site.clock())
        | ledger_lists(context, load.report, site),
        tags=_unchanged_data_version(instance, ledger),
    )
    if transformed:
        yield dg.AssetMaterialization(postprocessed_key(site.names), metadata=metadata_of_no_rows())
    # There is no run to link to; the ledger has the list of what was applied.
    yield from observations(load.report, dg.MetadataValue.asset(ledger), site)
    admission = replace(load.admission, lost=load.report.lost)
    drift = drift_before(instance, site.names)
    for result in (
        *admission_checks(admitted_key(site.names), admission),
        *load_check_results(load.report, site.settings.partial_interval, site.names, drift),
        load_space(instance, site),
        check_lag(site, instance, repository_of_tick(context)).with_times(site.clock(), None),
        shown_preflight(instance, ledger),
        *transformed,
    ):
        if result is not None and not stays_shown(instance, result):
            yield evaluation_of(result)


def _unchanged_data_version(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, str]:
    """Return the data version of the last load, so that nothing that depends on it is unsynced."""
    event = instance.get_latest_materialization_event(key)
    found = event and event.asset_materialization
    version = found and (found.tags or {}).get(DATA_VERSION_TAG)
    return {DATA_VERSION_TAG: version} if version else {}
