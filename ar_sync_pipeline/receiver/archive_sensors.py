"""Sensors that find new archives in the spool and request a load."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.clock import not_ahead
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.operations.dagster_internals import AssetJob
from ar_sync_pipeline.operations.location_error import tick_errors
from ar_sync_pipeline.operations.runs.backoff import next_try
from ar_sync_pipeline.operations.runs.run_state import failures_in_a_row
from ar_sync_pipeline.operations.windows import WINDOW_TAG, window_in_words
from ar_sync_pipeline.receiver.jobs import intake_of, load_jobs, load_under_way
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.spool.errors import SpoolAccessError
from ar_sync_pipeline.spool.states import SpooledArchive, is_waiting, list_parked, list_waiting
from ar_sync_pipeline.sync.load.allow import approved_but_parked
from ar_sync_pipeline.sync.load.delete_guard import held_by_guard
from ar_sync_pipeline.sync.load.intakes import other_archives_to_load
from ar_sync_pipeline.sync.load.retention import clean_uploads
from ar_sync_pipeline.sync.load.vanished_archives import remember_archives
from ar_sync_pipeline.visible_text import counted

ARCHIVES_TAG = "ar_sync/archives"
_SLOWEST_SECONDS, _FASTEST_SECONDS = 60, 5
# A load of partials takes a waiting complete along.
_COMPLETE_SECONDS = 120
# An archive waits at most a small part of its window before a tick finds it.
_TICKS_PER_WINDOW = 15


LoadInTick = Callable[[dg.SensorEvaluationContext], dg.SensorResult | None]
"""Loads what waits without a run; None: a run is needed."""

RequestEarly = Callable[[dg.DagsterInstance], dg.RunRequest | None]
"""Requests a run that waits for an archive on its way; None: none is known to be."""


def sensor_name(site: ReceiverSite, kind: ArchiveKind) -> str:
    """Return the name of the sensor that requests loads of a kind."""
    return site.names.name(f"new_{kind}_archives")


def archive_sensor(
    site: ReceiverSite,
    kind: ArchiveKind,
    job: AssetJob,
    load_in_tick: LoadInTick | None = None,
    request_early: RequestEarly | None = None,
) -> dg.SensorDefinition:
    """Return a sensor that requests one run for all waiting archives, with pauses after failures.

    The pauses grow. The spool is the queue and the ledger is the source of truth. The sensor has no
    state of its own: a lost cursor or a repeated tick loses nothing and loads nothing twice.
    """

    @dg.sensor(
        name=sensor_name(site, kind),
        job=job,
        minimum_interval_seconds=_interval_seconds(site, kind),
        description=f"Looks for {kind} archives in the spool, and asks for one load of all."
        + (" Removes abandoned uploads." if kind is ArchiveKind.COMPLETE else "")
        + (" Loads archives without rows itself." if load_in_tick else "")
        + (" Starts a load early when the sender announces an archive." if request_early else ""),
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    @tick_errors()
    def new_archives(
        context: dg.SensorEvaluationContext,
    ) -> dg.RunRequest | dg.SensorResult | dg.SkipReason:
        if kind is ArchiveKind.COMPLETE:
            _remove_abandoned_uploads(site)
        _remember(site)
        found = _to_load(site, kind)
        early = request_early(context.instance) if request_early and not found else None
        if not found and early is None:
            return dg.SkipReason("No archive waits.")
        # A second load would only wait in the queue of their pool.
        at_work = load_under_way(context.instance, site)
        if at_work is not None:
            return dg.SkipReason(f"{at_work} is at work; the next tick checks again.")
        if early is not None:
            return early
        loaded = load_in_tick(context) if load_in_tick else None
        if loaded is not None:
            return loaded
        return _request(context.instance, site, job.name, found)

    return new_archives


def _remove_abandoned_uploads(site: ReceiverSite) -> None:
    """Remove what no load removes while a disk that is full of it lets no archive arrive."""
    with suppress(SpoolAccessError):  # a load reports it
        clean_uploads(site.settings, site.clock)


def _remember(site: ReceiverSite) -> None:
    """Remember what is here, because a file that somebody removes leaves no trace."""
    with suppress(SpoolAccessError):  # a load reports it
        remember_archives(site.settings, site.clock())


def _request(
    instance: dg.DagsterInstance,
    site: ReceiverSite,
    job_name: str,
    archives: Sequence[SpooledArchive],
) -> dg.RunRequest | dg.SkipReason:
    """Request a load of these archives, unless loads of exactly these have failed lately."""
    group = _group(sorted(archive.name.applied for archive in archives))
    attempts = _attempts(instance, job_name, group)
    now = site.clock()
    again = next_try(not_ahead(attempts, now))
    if again is not None and again > now:
        return dg.SkipReason(
            f"{counted(len(attempts), 'run')} could not load these archives; again at"
            f" {again:%H:%M:%S} UTC."
        )
    with_completes = not attempts and _completes_can_be_loaded(instance, site)
    return dg.RunRequest(
        # Not their number: a purge of runs would repeat it, and Dagster skips a known key.
        run_key=f"{group}_{attempts[0].timestamp() if attempts else 0}",
        run_config=intake_of([*ArchiveKind], site.names) if with_completes else None,
        tags={ARCHIVES_TAG: group, WINDOW_TAG: _span(archives)},
    )


def _to_load(site: ReceiverSite, kind: ArchiveKind) -> list[SpooledArchive]:
    """Return the archives of a kind that a load should examine."""
    spool = site.settings.remote_bkp_fldr
    parked = [a for a in list_parked(spool) if a.name.kind is kind]
    held = [a for a in parked if held_by_guard(a)]
    old = other_archives_to_load(site.settings, site.clock())
    return [
        *(a for a in list_waiting(spool) if a.name.kind is kind),
        *(a for a in parked if a not in held),
        *approved_but_parked(site.settings, held),
        *(a for a in old if a.name.kind is kind),
    ]


def is_complete_to_load(site: ReceiverSite) -> bool:
    """Return whether a load should examine a complete; true if this cannot be found out."""
    try:
        return bool(_to_load(site, ArchiveKind.COMPLETE))
    except ArSyncError:
        return True


def _interval_seconds(site: ReceiverSite, kind: ArchiveKind) -> int:
    """Return the seconds between ticks, more for longer windows.

    A daemon for many pairs can run only a limited number of ticks.
    """
    if kind is ArchiveKind.COMPLETE:
        return _COMPLETE_SECONDS
    part = 60 * site.settings.partial_interval // _TICKS_PER_WINDOW
    return min(max(part, _FASTEST_SECONDS), _SLOWEST_SECONDS)


def _completes_can_be_loaded(instance: dg.DagsterInstance, site: ReceiverSite) -> bool:
    """Return whether a complete waits and no load of completes has failed since the last success.

    A complete that cannot be loaded must not delay partials.
    """
    waits = is_waiting(site.settings.remote_bkp_fldr, ArchiveKind.COMPLETE)
    return waits and not failures_in_a_row(instance, load_jobs(site.names)[0], None, site.clock())


def _group(names: Sequence[str]) -> str:
    """Return a name for exactly these archives: that of one, or the newest and a hash of all."""
    if len(names) == 1:
        return names[0]
    mark = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
    return f"{names[-1]} and {len(names) - 1} more ({mark})"


def _span(archives: Sequence[SpooledArchive]) -> str:
    """Return the time range in which the archives were made, for lists of runs."""
    times = [archive.name.snapshot_at for archive in archives]
    first, last = min(times), max(times)
    return window_in_words(first, last, 1) if first < last else f"{first:%Y-%m-%d %H:%M}"


def _attempts(instance: dg.DagsterInstance, job_name: str, group: str) -> list[datetime]:
    """Return when runs for exactly these archives were made, the last one first."""
    filters = dg.RunsFilter(job_name=job_name, tags={ARCHIVES_TAG: group})
    records = instance.get_run_records(filters, limit=100)
    return [record.create_timestamp.astimezone(UTC) for record in records]
