"""Removal of build folders that no run can resume: the Dagster instance knows the runs."""

from datetime import datetime, timedelta

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.clock import CLOCK_TOLERANCE, from_epoch
from ar_sync_pipeline.disk_errors import measure_free_space
from ar_sync_pipeline.operations.dagster_internals import ROOT_RUN_ID_TAG
from ar_sync_pipeline.operations.runs.own_process import is_launched
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sync.dump.build_folder import check_scratch
from ar_sync_pipeline.sync.dump.scratch import clean_scratch

# For a retry of a failed run "from failure" by hand.
_RESUMED_WITHIN = timedelta(hours=1)


def clean_build_folders(
    site: SenderSite, context: dg.AssetExecutionContext, kind: ArchiveKind
) -> None:
    """Remove the build folders that no run can resume.

    For an hour after a run and all its retries have ended, it may be resumed by hand. This hour
    does not count when a later complete begins, or while the disk is short of space.

    Args:
        site: The sender.
        context: Context of the run.
        kind: Kind of the dump that is about to begin.

    Raises:
        ScratchMissingError: The scratch folder does not exist.
        ScratchNotPrivateError: Others can change the content of the scratch folder.
    """
    settings, now = site.settings, site.clock()
    scratch = settings.tmp_bkp_fldr
    check_scratch(scratch)
    is_short = measure_free_space(scratch).is_below(settings.free_space_floor)
    at_once = kind is ArchiveKind.COMPLETE or is_short
    resumed = timedelta(0) if at_once else _RESUMED_WITHIN
    clean_scratch(scratch, now, lambda run_id: _is_over(context.instance, run_id, now, resumed))


def _is_over(
    instance: dg.DagsterInstance, root_id: str, now: datetime, resumed_within: timedelta
) -> bool | None:
    """Return whether a run and its retries ended that long ago, and no retry will follow.

    None: there is no such run; it is one of another instance, or purged. An end in the future, by a
    clock that was ahead, was long ago, too.
    """
    records = [
        *instance.get_run_records(dg.RunsFilter(run_ids=[root_id])),
        *instance.get_run_records(dg.RunsFilter(tags={ROOT_RUN_ID_TAG: root_id})),
    ]
    if not records:
        return None
    return all(
        record.dagster_run.is_finished
        and not (
            record.dagster_run.is_complete_and_waiting_to_retry and is_launched(record.dagster_run)
        )
        and record.end_time is not None
        and not now - resumed_within < from_epoch(record.end_time) <= now + CLOCK_TOLERANCE
        for record in records
    )
