"""Load sensors that a person has stopped, so that no load of what waits starts."""

from collections.abc import Mapping
from dataclasses import replace

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.operations.runs.run_state import is_stopped
from ar_sync_pipeline.receiver.archive_sensors import sensor_name
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.spool.states import is_waiting
from ar_sync_pipeline.sync.watch.lag import Lag
from ar_sync_pipeline.sync.watch.unapplied import LedgerView, UnappliedArchive

StoppedSensors = Mapping[ArchiveKind, str]


def stopped_sensors(
    site: ReceiverSite, instance: dg.DagsterInstance, repository_id: str | None
) -> StoppedSensors:
    """Return the stopped sensor of each kind of which an archive waits.

    A load of partials takes a waiting complete along.
    """
    waiting = [kind for kind in ArchiveKind if is_waiting(site.settings.remote_bkp_fldr, kind)]
    stopped = {
        kind: name
        for kind in ArchiveKind
        if waiting and is_stopped(instance, name := sensor_name(site, kind), repository_id)
    }
    if ArchiveKind.PARTIAL not in stopped:
        return {}
    return {kind: stopped[kind] for kind in waiting if kind in stopped}


def lag_with(stopped: StoppedSensors, lag: Lag) -> Lag:
    """Return the lag, with the stopped sensors as the first reason."""
    if not stopped:
        return lag
    reasons = [f"the sensor {name} is stopped: {_remedy(name)}" for name in stopped.values()]
    return replace(lag, because="; ".join([*reasons, lag.because]))


def view_with(stopped: StoppedSensors, view: LedgerView) -> LedgerView:
    """Return the list of archives, with what to do about those that wait for a stopped sensor."""
    return replace(view, unapplied=tuple(_described(stopped, one) for one in view.unapplied))


def _described(stopped: StoppedSensors, archive: UnappliedArchive) -> UnappliedArchive:
    name = ArchiveName.parse(archive.name)
    sensor = stopped.get(name.kind) if name and archive.state == "waiting" else None
    return replace(archive, remedy=_remedy(sensor)) if sensor else archive


def _remedy(sensor: str) -> str:
    return f"start {sensor} in Dagster (Automation)"
