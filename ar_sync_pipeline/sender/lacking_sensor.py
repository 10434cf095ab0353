"""Sensor that requests a complete when only a complete makes the receiver equal.

The receiver lacks something of the last one or has quarantined it, as its receipt says, or has
tables that it cannot verify, as its checkpoint says. Every partial reads both; the sensor reads the
sender's journal.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.clock import not_ahead
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.dagster_internals import AssetJob
from ar_sync_pipeline.operations.location_error import tick_errors
from ar_sync_pipeline.operations.runs.backoff import pause_after
from ar_sync_pipeline.operations.runs.run_state import failures_in_a_row, work_under_way
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sync.dump.choose_base import (
    complete_to_compare,
    complete_to_repeat,
    complete_to_replace,
)
from ar_sync_pipeline.sync.dump.last_view import last_checkpoint
from ar_sync_pipeline.visible_text import counted

_REQUESTED = {"ar_sync/requested_by": "complete_for_receiver"}
# Partials read what the receiver lacks once in a window.
_SECONDS = 300
# The receiver's word must not keep the sender busy.
_MOST, _WITHIN = 4, timedelta(days=1)
# A complete costs production more than a partial: 4, 8, 16, ... minutes, at most two hours.
_PAUSES = 4
_READ = 100


def lacking_sensor(site: SenderSite, job: AssetJob) -> dg.SensorDefinition:
    """Return a sensor that requests one complete for each complete that was not enough.

    The run key names that complete and the newest request, because Dagster skips a key that a run
    has, also one that failed: after a failure there is another request, with pauses that grow.
    After a complete with everything, and after some completes within a day, nothing is requested.
    """
    key = archive_key(ArchiveKind.COMPLETE, site.names)

    @dg.sensor(
        name=site.names.name("complete_for_receiver"),
        job=job,
        minimum_interval_seconds=_SECONDS,
        description="Requests a complete when the receiver lacks rows or files that the last one"
        " did not carry: it was restored from a backup, or somebody changed it. The new one carries"
        " them; if the receiver still lacks something, the next one carries everything. It also"
        " requests one when DDL at the receiver has changed replicated rows, when a partial there"
        " waits for what only a complete brings, and when the receiver has quarantined the last"
        " one.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    @tick_errors()
    def complete_for_receiver(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        needed = _needed(site)
        if needed is None:
            return dg.SkipReason("The receiver lacks nothing that the last complete left out.")
        at_work = work_under_way(context.instance, job.name, key, site.clock())
        if at_work is not None:
            return dg.SkipReason(f"{at_work} is at work; the next tick checks again.")
        requested = _requested(context.instance, job.name)
        not_yet = _pause(context.instance, job.name, site.clock()) or _limit(
            requested, site.clock()
        )
        if not_yet is not None:
            return dg.SkipReason(not_yet)
        last = _created(requested[0]).timestamp() if requested else 0
        return dg.RunRequest(run_key=f"{needed}_{last}", tags=_REQUESTED)

    return complete_for_receiver


def _requested(instance: dg.DagsterInstance, job_name: str) -> Sequence[dg.RunRecord]:
    """Return the newest runs that this sensor has requested, the last one first."""
    filters = dg.RunsFilter(job_name=job_name, tags=_REQUESTED)
    return instance.get_run_records(filters, limit=_READ)


def _created(record: dg.RunRecord) -> datetime:
    return record.create_timestamp.astimezone(UTC)


def _pause(instance: dg.DagsterInstance, job_name: str, now: datetime) -> str | None:
    """Return why nothing is requested so soon after failures; None if a run may be requested."""
    failures = failures_in_a_row(instance, job_name, None, now)
    if not failures:
        return None
    again = max(failures) + _PAUSES * pause_after(len(failures))
    if again <= now:
        return None
    failed = counted(len(failures), "run has failed", "runs in a row have failed")
    return f"{failed}, see the last one; again at {again:%H:%M} UTC."


def _limit(requested: Sequence[dg.RunRecord], now: datetime) -> str | None:
    """Return why no further complete is requested; None if one may be requested.

    A failed run has sent nothing, and its pauses limit the next one.
    """
    failed = dg.DagsterRunStatus.FAILURE
    made = [_created(one) for one in requested if one.dagster_run.status is not failed]
    recent = [at for at in not_ahead(made, now) if at > now - _WITHIN]
    if len(recent) < _MOST:
        return None
    return (
        f"{_MOST} completes were requested within a day; the one of the schedule carries what is"
        " lacking."
    )


def _needed(site: SenderSite) -> str | None:
    """Return why a complete is needed, for which complete before it; None if none is needed."""
    scratch, now = site.settings.tmp_bkp_fldr, site.clock()
    checkpoint = last_checkpoint(scratch, now)
    if lacking := complete_to_repeat(scratch, checkpoint, now):
        return f"lacking_{lacking}"
    if quarantined := complete_to_replace(scratch, checkpoint, now):
        return f"quarantined_{quarantined}"
    unverified = complete_to_compare(scratch, checkpoint, now)
    return f"unverified_{unverified}" if unverified else None
