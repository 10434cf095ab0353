"""Sensor that requests a complete when the receiver lacks something of the last one.

The receiver says so in a receipt, which every partial reads; the sensor reads the sender's journal.
"""

from datetime import timedelta

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.dagster_internals import AssetJob
from ar_sync_pipeline.operations.runs.run_state import work_under_way
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sync.dump.choose_base import complete_to_repeat

LACKING_TAG = "ar_sync/receiver_lacks_of"
_REQUESTED = {"ar_sync/requested_by": "complete_for_receiver"}
_SECONDS = 120
# The receiver's word must not keep the sender busy.
_MOST, _WITHIN = 4, timedelta(days=1)


def lacking_sensor(site: SenderSite, job: AssetJob) -> dg.SensorDefinition:
    """Return a sensor that requests one complete for each archive of which something is lacking.

    The run key names the archive, so that no run is requested twice. After a complete with
    everything, and after some completes within a day, nothing is requested.
    """
    key = archive_key(ArchiveKind.COMPLETE, site.names)

    @dg.sensor(
        name=site.names.name("complete_for_receiver"),
        job=job,
        minimum_interval_seconds=_SECONDS,
        description="Requests a complete when the receiver lacks rows or files that the last one"
        " did not carry: it was restored from a backup, or somebody changed it. The new one carries"
        " them; if the receiver still lacks something, the next one carries everything.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def complete_for_receiver(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        lacking = complete_to_repeat(site.settings.tmp_bkp_fldr)
        if lacking is None:
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
        return dg.RunRequest(
            run_key=f"lacking_{lacking}", tags={**_REQUESTED, LACKING_TAG: lacking}
        )

    return complete_for_receiver
