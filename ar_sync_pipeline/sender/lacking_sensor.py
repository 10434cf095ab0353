"""Sensor that requests a complete when only a complete makes the receiver equal.

The receiver lacks something of the last one, as its receipt says, or has tables that it cannot
verify, as its checkpoint says. Every partial reads both; the sensor reads the sender's journal.
"""

from datetime import timedelta

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.dagster_internals import AssetJob
from ar_sync_pipeline.operations.runs.run_state import work_under_way
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sync.dump.choose_base import complete_to_compare, complete_to_repeat
from ar_sync_pipeline.sync.dump.last_view import last_checkpoint

_REQUESTED = {"ar_sync/requested_by": "complete_for_receiver"}
# Partials read what the receiver lacks once in a window.
_SECONDS = 300
# The receiver's word must not keep the sender busy.
_MOST, _WITHIN = 4, timedelta(days=1)


def lacking_sensor(site: SenderSite, job: AssetJob) -> dg.SensorDefinition:
    """Return a sensor that requests one complete for each complete that was not enough.

    The run key names that complete, so that no run is requested twice. After a complete with
    everything, and after some completes within a day, nothing is requested.
    """
    key = archive_key(ArchiveKind.COMPLETE, site.names)

    @dg.sensor(
        name=site.names.name("complete_for_receiver"),
        job=job,
        minimum_interval_seconds=_SECONDS,
        description="Requests a complete when the receiver lacks rows or files that the last one"
        " did not carry: it was restored from a backup, or somebody changed it. The new one carries"
        " them; if the receiver still lacks something, the next one carries everything. It also"
        " requests one when DDL at the receiver has changed replicated rows.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def complete_for_receiver(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        run_key = _needed(site)
        if run_key is None:
            return dg.SkipReason("The receiver lacks nothing that the last complete left out.")
        at_work = work_under_way(context.instance, job.name, key, site.clock())
        if at_work is not None:
            return dg.SkipReason(f"{at_work} is at work; the next tick looks again.")
        since = site.clock() - _WITHIN
        filters = dg.RunsFilter(job_name=job.name, tags=_REQUESTED, created_after=since)
        if context.instance.get_runs_count(filters) >= _MOST:
            return dg.SkipReason(
                f"{_MOST} completes were requested within a day; the one of the schedule carries"
                " what is lacking."
            )
        return dg.RunRequest(run_key=run_key, tags=_REQUESTED)

    return complete_for_receiver


def _needed(site: SenderSite) -> str | None:
    """Return the key of the run that is to be requested; None if no complete is needed."""
    scratch = site.settings.tmp_bkp_fldr
    if lacking := complete_to_repeat(scratch):
        return f"lacking_{lacking}"
    checkpoint = last_checkpoint(scratch, site.clock())
    unverified = complete_to_compare(scratch, checkpoint)
    return f"unverified_{unverified}" if unverified else None
