"""Job and schedule that delete old runs; each code location has its own."""

from collections.abc import Collection
from datetime import timedelta

import dagster as dg

from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.operations.dagster_internals import REPOSITORY_LABEL_TAG
from ar_sync_pipeline.operations.owners import OWNERS
from ar_sync_pipeline.operations.pair_names import SIDE_TAG, PairNames, queue_of
from ar_sync_pipeline.operations.runs.run_assets import assets_of
from ar_sync_pipeline.operations.runs.run_purge import Lifetimes, purge_runs

NAME = "purge_runs"
_LONGEST_SECONDS = 3600


def purge_job(
    side: str,
    days: int,
    job_names: Collection[str],
    clock: Clock,
    names: PairNames,
) -> dg.JobDefinition:
    """Return a job that deletes runs of this code location, whose output is stored on this host.

    Args:
        side: ``sender`` or ``receiver``.
        days: Days to keep successful runs; others are kept twice as long.
        job_names: Jobs whose runs are deleted, too, if they were started without a code location,
            from the command line.
        clock: Returns the current time.
        names: Names of the pair.
    """
    own_jobs = {*job_names, names.name(NAME)}
    lifetimes = Lifetimes(good=timedelta(days=days), bad=timedelta(days=2 * days))

    @dg.op(
        name=names.name("delete_old_runs"),
        description="Deletes runs, their events and the output of their steps from Dagster.",
    )
    def delete_old_runs(context: dg.OpExecutionContext) -> None:
        repository = context.run.tags.get(REPOSITORY_LABEL_TAG)

        def is_own(run: dg.DagsterRun) -> bool:
            made_by = run.tags.get(REPOSITORY_LABEL_TAG)
            if made_by is None:
                return run.job_name in own_jobs
            # One code location may have several pairs. Runs from before the pair got its name have
            # the plain side.
            own_sides = {None, side, names.name(side)}
            return made_by == repository and not own_sides.isdisjoint(_sides(run))

        purged = purge_runs(context.instance, lifetimes, clock, is_own, names)
        context.add_output_metadata({"runs_deleted": purged.runs, "files_deleted": purged.files})
        if purged.unfinished:
            context.log.warning("There are more old runs; the next purge continues with them.")

    @dg.job(
        name=names.name(NAME),
        description=f"Delete finished runs from Dagster: {days} days after they succeeded,"
        f" {2 * days} days after they failed or were ended. Archives and data are not touched.",
        tags=names.job_tags(side, _LONGEST_SECONDS),
        owners=OWNERS,
    )
    def purge() -> None:
        delete_old_runs()

    return purge


def _sides(run: dg.DagsterRun) -> set[str | None]:
    """Return the sides that a run belongs to: its tag, or those of the assets of a run by hand.

    None: assets or checks of the operator's own, or a run without any.
    """
    if SIDE_TAG in run.tags:
        return {run.tags[SIDE_TAG]}
    return {queue_of(key) for key in assets_of(run)} or {None}


def purge_schedule(names: PairNames) -> dg.ScheduleDefinition:
    """Return a daily schedule, at a minute when no window ends and no complete is due.

    This holds for the default settings.
    """
    return dg.ScheduleDefinition(
        name=names.name("purge_runs_schedule"),
        # By name, because the job that runs has the failure hook and is another object.
        job_name=names.name(NAME),
        cron_schedule="47 9 * * *",
        execution_timezone="UTC",
        description="Old runs are deleted once a day, so that Dagster's own data stays bounded.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
