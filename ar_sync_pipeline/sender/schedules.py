"""Schedules of the jobs: completes daily, partials for every missing window, the check hourly."""

from collections.abc import Callable
from datetime import datetime

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.dagster_internals import AssetJob
from ar_sync_pipeline.operations.pair_names import ALONE, SIDE_TAG, PairNames
from ar_sync_pipeline.operations.runs.backoff import next_try
from ar_sync_pipeline.operations.runs.run_state import (
    failures_in_a_row,
    last_success,
    work_under_way,
)
from ar_sync_pipeline.operations.windows import WINDOW_TAG, window_in_words
from ar_sync_pipeline.sender.missing_windows import HORIZON, MissingWindows, find_missing_windows
from ar_sync_pipeline.sender.site import SenderSite


def complete_schedule(site: SenderSite, job: AssetJob) -> dg.ScheduleDefinition:
    """Return the schedule of completes, in local time.

    Daylight saving does not skip or repeat a tick.
    """
    return dg.ScheduleDefinition(
        name=site.names.name("complete_dump_schedule"),
        job=job,
        cron_schedule=site.settings.complete_cron,
        execution_timezone=site.settings.timezone,
        description="Every table and all media, once a day.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def checker_schedule(site: SenderSite, job: AssetJob) -> dg.ScheduleDefinition:
    """Return an hourly schedule, at a minute at which no window ends."""
    return dg.ScheduleDefinition(
        name=site.names.name("ssh_sftp_checker_schedule"),
        job=job,
        cron_schedule="17 * * * *",
        execution_timezone="UTC",
        description="The way to the receiver, step by step, every hour.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def partial_schedule(
    job: AssetJob,
    windows: dg.TimeWindowPartitionsDefinition,
    clock: Callable[[], datetime],
    names: PairNames = ALONE,
) -> dg.ScheduleDefinition:
    """Return a schedule at the end of every window: one run for all recent missing windows.

    During other work on these windows nothing is requested, so that runs never pile up; the next
    tick includes the missed windows. After failures the pauses grow.
    """
    key = archive_key(ArchiveKind.PARTIAL, names)

    @dg.schedule(
        name=names.name("partial_dump_schedule"),
        job=job,
        cron_schedule=windows.get_cron_schedule(),
        execution_timezone="UTC",
        description="Changed rows and media, at the end of every window; missed windows of the"
        f" last {HORIZON.total_seconds() / 3600:.0f} hours are taken along in the same run. While"
        " runs fail, the next one is tried after 1, 2, 4, ... minutes, half an hour at most; any"
        " success of the sender ends that.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def partial_dump_schedule(
        context: dg.ScheduleEvaluationContext,
    ) -> dg.RunRequest | dg.SkipReason:
        # A daemon that was down repeats missed ticks: the first of them includes all windows.
        now = max(context.scheduled_execution_time, clock())
        at_work = work_under_way(context.instance, job.name, key, clock())
        if at_work is not None:
            return dg.SkipReason(f"{at_work} is still at work; the next tick catches up.")
        pause = _pause(context.instance, names, job.name, key, clock())
        if pause is not None:
            return dg.SkipReason(pause)
        missing = find_missing_windows(context.instance, key, windows, now)
        if missing.older_in_words is not None:
            context.log.warning(missing.older_in_words)
        if not missing.recent:
            return dg.SkipReason(missing.older_in_words or "No window is missing.")
        return _request(missing, windows, context.scheduled_execution_time)

    return partial_dump_schedule


def _pause(
    instance: dg.DagsterInstance,
    names: PairNames,
    job_name: str,
    key: dg.AssetKey,
    now: datetime,
) -> str | None:
    """Return why nothing is requested now, after failures; None if a run may be requested."""
    success = last_success(instance, key, {SIDE_TAG: names.name("sender")})
    failures = failures_in_a_row(instance, job_name, success)
    again = next_try(failures)
    if again is None or again <= now:
        return None
    return (
        f"{len(failures)} runs in a row have failed, see the last one; again at the first tick"
        f" after {again:%H:%M:%S} UTC, over all windows that are missing then."
    )


def _request(
    missing: MissingWindows, windows: dg.TimeWindowPartitionsDefinition, tick: datetime
) -> dg.RunRequest:
    first, last = missing.recent[0], missing.recent[-1]
    start = windows.start_time_for_partition_key(first)
    end = windows.time_window_for_partition_key(last).end
    tags = {
        WINDOW_TAG: window_in_words(
            start, end, len(windows.get_partition_keys_in_time_window(dg.TimeWindow(start, end)))
        ),
        "dagster/asset_partition_range_start": first,
        "dagster/asset_partition_range_end": last,
    }
    if missing.older:
        tags["ar_sync/missing_older_windows"] = f"{missing.older[0]} to {missing.older[-1]}"
    return dg.RunRequest(run_key=f"{first}_{last}_{tick.timestamp():.0f}", tags=tags)
