"""When jobs run: the complete daily, partials for every missing window, the check hourly."""

from datetime import datetime, timedelta

import dagster as dg
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_job import AssetJob
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.run_state import unfinished_run
from ar_sync_pipeline.settings import SenderSettings

# Longer than a night, since a line that is cut in the evening may be mended in the morning. What is
# older has come by the watermark all the same; its windows are left to a person, because Dagster
# keeps an event for each asset and window of a range.
_HORIZON = timedelta(hours=12)
_MATERIALIZED = AssetPartitionStatus.MATERIALIZED


def complete_schedule(settings: SenderSettings, job: AssetJob) -> dg.ScheduleDefinition:
    """Every night in local time; daylight saving does not skip or repeat it."""
    return dg.ScheduleDefinition(
        name="complete_dump_schedule",
        job=job,
        cron_schedule=settings.complete_cron,
        execution_timezone=settings.timezone,
        description="Every table and all media, once a day.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def checker_schedule(job: AssetJob) -> dg.ScheduleDefinition:
    """Every hour, at a minute at which no window ends."""
    return dg.ScheduleDefinition(
        name="ssh_sftp_checker_schedule",
        job=job,
        cron_schedule="17 * * * *",
        execution_timezone="UTC",
        description="The way to the receiver, step by step, every hour.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def partial_schedule(
    job: AssetJob, windows: dg.TimeWindowPartitionsDefinition
) -> dg.ScheduleDefinition:
    """At the end of every window: one run over all windows that are missing in the last hours.

    While a run of the job is queued or running nothing is requested, so runs never pile up; the
    next tick takes the missed windows along.
    """
    key = archive_key(ArchiveKind.PARTIAL)

    @dg.schedule(
        name="partial_dump_schedule",
        job=job,
        cron_schedule=windows.get_cron_schedule(),
        execution_timezone="UTC",
        description="Changed rows and media, at the end of every window; missed windows of the"
        f" last {_HORIZON.total_seconds() / 3600:.0f} hours are taken along in the same run.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def partial_dump_schedule(
        context: dg.ScheduleEvaluationContext,
    ) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time
        running = unfinished_run(context.instance, job.name)
        if running is not None:
            return dg.SkipReason(f"Run {running} is still at work; the next tick catches up.")
        missing = missing_windows(context.instance, key, windows, now)
        if not missing:
            return dg.SkipReason("No window is missing.")
        return dg.RunRequest(
            run_key=f"{missing[0]}_{missing[-1]}_{now.timestamp():.0f}",
            tags={
                "dagster/asset_partition_range_start": missing[0],
                "dagster/asset_partition_range_end": missing[-1],
            },
        )

    return partial_dump_schedule


def missing_windows(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    windows: dg.TimeWindowPartitionsDefinition,
    now: datetime,
) -> list[str]:
    """Closed windows within the horizon that have no archive; only the newest on a first run."""
    with dg.partition_loading_context(effective_dt=now):
        newest = windows.get_last_partition_window()
        if newest is None:
            return []
        start = max(newest.end - _HORIZON, _first_dump(instance, key, windows) or newest.start)
        recent = windows.get_partition_keys_in_time_window(dg.TimeWindow(start, newest.end))
        statuses = instance.get_status_by_partition(key, recent, windows) or {}
    return [window for window in recent if statuses.get(window) is not _MATERIALIZED]


def _first_dump(
    instance: dg.DagsterInstance, key: dg.AssetKey, windows: dg.TimeWindowPartitionsDefinition
) -> datetime | None:
    """The start of the first window that was ever dumped: no window before it is missing."""
    first = instance.fetch_materializations(key, limit=1, ascending=True).records
    if not first or first[0].partition_key is None:
        return None
    return windows.start_time_for_partition_key(first[0].partition_key)
