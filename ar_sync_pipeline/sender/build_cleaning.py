"""Which build folders a run may still resume: the instance knows, the engine removes the others."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.dagster_internals import ROOT_RUN_ID_TAG
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.spool.free_space import measure_free_space
from ar_sync_pipeline.sync.dump.scratch import clean_scratch

# For an operator who retries a failed run "from failure".
_RESUMED_WITHIN = timedelta(hours=1)


def clean_build_folders(
    site: SenderSite, context: dg.AssetExecutionContext, kind: ArchiveKind
) -> int:
    """Remove the build folders that no run resumes; returns how many.

    A run that has ended, with all its retries, may be resumed by an operator for an hour; not once
    a later complete has begun, nor while the disk is short of space.

    Args:
        kind: of the dump that is about to begin.

    Raises:
        ScratchNotPrivateError: others can change what is in the scratch folder.
        SpoolAccessError: the scratch folder is not there.
    """
    settings, now = site.settings, site.clock()
    scratch = settings.tmp_bkp_fldr
    is_short = measure_free_space(scratch).is_below(settings.free_space_floor)
    at_once = kind is ArchiveKind.COMPLETE or is_short
    ended_before = now if at_once else now - _RESUMED_WITHIN
    return clean_scratch(
        scratch, now, lambda run_id: _is_over(context.instance, run_id, ended_before)
    )


def _is_over(instance: dg.DagsterInstance, root_id: str, ended_before: datetime) -> bool:
    """Whether a run and its retries have all ended before an instant, and none is to come."""
    records = [
        *instance.get_run_records(dg.RunsFilter(run_ids=[root_id])),
        *instance.get_run_records(dg.RunsFilter(tags={ROOT_RUN_ID_TAG: root_id})),
    ]
    # Another instance's, or a run whose records were purged: age alone decides.
    return bool(records) and all(
        record.dagster_run.is_finished
        and not record.dagster_run.is_complete_and_waiting_to_retry
        and record.end_time is not None
        and datetime.fromtimestamp(record.end_time, UTC) <= ended_before
        for record in records
    )
