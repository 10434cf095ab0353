"""Schedules of the jobs: completes daily, partials for every missing window, the check hourly."""

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.dagster_internals import AssetJob
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.operations.runs.run_state import work_under_way
from ar_sync_pipeline.sender.missing_windows import HORIZON
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.window_requests import SCHEDULE, WindowRequests


def complete_schedule(site: SenderSite, job: AssetJob) -> dg.ScheduleDefinition:
    """Return the schedule of completes, in local time.

    Daylight saving does not skip or repeat a tick. While a complete is under way nothing is
    requested, so that runs never pile up.
    """
    key = archive_key(ArchiveKind.COMPLETE, site.names)

    @dg.schedule(
        name=site.names.name("complete_dump_schedule"),
        job=job,
        cron_schedule=site.settings.complete_cron,
        execution_timezone=site.settings.timezone,
        description="Every table and all media, as often as AR_SYNC_COMPLETE_CRON says; nothing"
        " while another complete is at work.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def complete_dump_schedule(
        context: dg.ScheduleEvaluationContext,
    ) -> dg.RunRequest | dg.SkipReason:
        at_work = work_under_way(context.instance, job.name, key, site.clock())
        if at_work is not None:
            return dg.SkipReason(f"{at_work} is still at work; the next tick requests a complete.")
        return dg.RunRequest()

    return complete_dump_schedule


def checker_schedule(site: SenderSite, job: AssetJob) -> dg.ScheduleDefinition:
    """Return an hourly schedule, at a minute at which no window ends."""
    return dg.ScheduleDefinition(
        name=site.names.name("ssh_sftp_checker_schedule"),
        job=job,
        cron_schedule="17 * * * *",
        execution_timezone="UTC",
        description="Tests the connection to the receiver every hour.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def partial_schedule(
    job: AssetJob,
    windows: dg.TimeWindowPartitionsDefinition,
    clock: Clock,
    names: PairNames,
) -> dg.ScheduleDefinition:
    """Return a schedule at the end of every window: one run for all recent missing windows.

    During other work on these windows nothing is requested, so that runs never pile up; the next
    tick includes the missed windows. After failures the pauses grow.
    """
    requests = WindowRequests(job.name, windows, clock, names)

    @dg.schedule(
        name=names.name(SCHEDULE),
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
        tick = context.scheduled_execution_time
        until = max(tick, clock())
        mark = f"{tick.timestamp():.0f}"
        return requests.request(context.instance, until, mark, lambda: context.log)

    return partial_dump_schedule
