"""Sensor that requests the run of a window shortly before the window ends.

The largest part of a run's time is the start of its process. The run waits for the end of its
window and takes the snapshot then, so this time passes while the window is still open.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.operations.dagster_internals import AssetJob
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.operations.repository_id import repository_of_tick
from ar_sync_pipeline.operations.runs.run_state import is_stopped
from ar_sync_pipeline.sender.window_requests import SCHEDULE, WindowRequests

# A daemon for many pairs can run only a limited number of ticks.
_PART_OF_WINDOW, _LONGEST_PAUSE = 0.3, timedelta(seconds=90)
# Two ticks at the same time do not see each other's runs: the last seconds are the schedule's.
_LEFT_TO_SCHEDULE = timedelta(seconds=5)
_ORIGIN = datetime.min.replace(tzinfo=UTC)


def early_sensor(
    job: AssetJob,
    windows: dg.TimeWindowPartitionsDefinition,
    clock: Clock,
    names: PairNames,
    *,
    interval: timedelta,
    early: timedelta,
) -> dg.SensorDefinition:
    """Return the sensor; the schedule requests whatever it does not.

    A window has at most one early run, so one that was terminated is not started again before the
    window's end. While runs are queued there is none, since it would hold one of the slots of
    the instance. No run is requested while the schedule is stopped. A tick before its time does
    not use Dagster's storage.

    Args:
        interval: Length of a window.
        early: How long before the end of a window its run is requested, at the latest; half a
            window at most.
    """
    pause = min(_PART_OF_WINDOW * interval, _LONGEST_PAUSE)
    earliest = min(early, interval / 2) + pause
    schedule = names.name(SCHEDULE)
    requests = WindowRequests(job.name, windows, clock, names)

    @dg.sensor(
        name=names.name("early_partial_dump"),
        job=job,
        minimum_interval_seconds=round(pause.total_seconds()),
        description="Requests the run of a window at most"
        f" {earliest.total_seconds():.0f} seconds before its end: its process starts, waits for the"
        f" end and takes the snapshot then. The schedule `{schedule}`"
        " requests what this sensor did not.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def early_partial_dump(
        context: dg.SensorEvaluationContext,
    ) -> dg.RunRequest | dg.SkipReason:
        now = clock()
        end = now + interval - (now - _ORIGIN) % interval
        if end - now > earliest:
            return dg.SkipReason(f"The window ends at {end:%H:%M} UTC.")
        if end - now < _LEFT_TO_SCHEDULE:
            return dg.SkipReason("The window ends now; the schedule requests its run.")
        if is_stopped(context.instance, schedule, repository_of_tick(context)):
            return dg.SkipReason(f"The schedule {schedule} is stopped.")
        queued = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])
        if context.instance.get_runs_count(queued):
            return dg.SkipReason("Other runs wait for a slot; a waiting run would hold one.")
        return requests.request(context.instance, end, "early", lambda: context.log)

    return early_partial_dump
