"""The state of one side as figures for a monitoring system, equal to those of `status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ar_sync_pipeline.alerts.outbox import Outbox
from ar_sync_pipeline.alerts.store import IncidentStore
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.settings.model import (
    ReceiverSettings,
    SenderSettings,
    SettingsError,
    side_of,
)
from ar_sync_pipeline.spool.states import list_applied
from ar_sync_pipeline.sync.watch.alerting import incidents_file
from ar_sync_pipeline.sync.watch.arrived_archives import Arrived
from ar_sync_pipeline.sync.watch.disk_space import filled_folders, known_spaces
from ar_sync_pipeline.sync.watch.open_incidents import why_none_is_recorded
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.sender_status import sender_status
from ar_sync_pipeline.sync.watch.status import Status

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Figure:
    """A measured quantity.

    Attributes:
        name: Name, with its unit at the end.
        meaning: Description.
        samples: Values, each with the labels that identify it; none if unknown.
    """

    name: str
    meaning: str
    samples: Sequence[tuple[Labels, float]]


@dataclass(frozen=True)
class Figures:
    """All figures that could be measured.

    Attributes:
        side: ``sender`` or ``receiver``.
        pair: Name of the pair.
        measured: The figures.
        error: Why the state of the archives is missing; None if it is included.
    """

    side: str
    pair: str
    measured: Sequence[Figure]
    error: ArSyncError | None


def measure(
    settings: SenderSettings | ReceiverSettings,
    now: datetime,
    unusable: SettingsError | None = None,
) -> Figures:
    """Measure all figures; a database, spool or link that cannot be used is a figure, too.

    Args:
        settings: Settings of the side.
        now: Current time.
        unusable: Error that names the paths of the settings that cannot be used, if there are any.

    Raises:
        AlertStoreError: The file of incidents cannot be used.
    """
    status: Status | None = None
    failure: ArSyncError | None = unusable
    if unusable is None:
        try:
            status = _read_status(settings, now)
        except ArSyncError as error:
            failure = error
    measured = [
        Figure(
            "ar_sync_metrics_timestamp_seconds",
            "When these figures were measured.",
            [({}, now.timestamp())],
        ),
        *_of_status(status),
        *(_of_archives(settings, status.newest) if status else ()),
        *(_of_space(settings) if unusable is None else ()),
        *_of_incidents(settings),
    ]
    return Figures(side_of(settings), settings.pair, measured, failure)


def _read_status(settings: SenderSettings | ReceiverSettings, now: datetime) -> Status:
    if isinstance(settings, ReceiverSettings):
        return receiver_status(settings, load_catalog(settings.catalog), now)
    return sender_status(settings, now)


def _of_status(status: Status | None) -> Iterator[Figure]:
    yield Figure(
        "ar_sync_readable",
        "Whether the state of the archives could be read (1); 0: the database, a folder or the"
        " login cannot be used.",
        [({}, status is not None)],
    )
    if status is None:
        return
    lag = status.lag
    yield Figure("ar_sync_ok", "Whether `ar-sync status` ends with 0.", [({}, status.ok)])
    yield Figure("ar_sync_link_up", "Whether the receiver can be asked.", [({}, status.link_is_up)])
    yield Figure(
        "ar_sync_data_until_timestamp_seconds",
        "Up to when the receiver holds the sender's data.",
        [({}, lag.data_until.timestamp())] if lag.data_until else [],
    )
    yield Figure(
        "ar_sync_lag_seconds",
        "How old the receiver's data is.",
        [] if lag.minutes_behind is None else [({}, 60 * lag.minutes_behind)],
    )
    yield Figure("ar_sync_gaps", "Gaps in the applied archives.", [({}, status.gaps)])
    yield Figure(
        "ar_sync_tables_not_sent",
        "Replicated tables with rows at the receiver that the sender no longer sends.",
        [({}, len(status.unsent))],
    )
    yield Figure(
        "ar_sync_tables_unverified",
        "Tables whose rows DDL at the receiver has changed, until a complete is applied.",
        [({}, len(status.unverified))],
    )
    yield Figure(
        "ar_sync_archives",
        "Archives by state, as `ar-sync status` counts them.",
        [({"state": count.state}, count.count) for count in status.archives],
    )


def _of_archives(
    settings: SenderSettings | ReceiverSettings, newest: Sequence[Arrived]
) -> Iterator[Figure]:
    """Yield figures of published archives at the sender, of applied archives at the receiver."""
    files = list_applied(settings.remote_bkp_fldr) if isinstance(settings, ReceiverSettings) else []
    sizes = {one.name.applied: one.size_bytes for one in files}
    yield Figure(
        "ar_sync_last_success_timestamp_seconds",
        "When the newest archive was published (sender) or applied (receiver).",
        [({"kind": one.kind}, one.at.timestamp()) for one in newest],
    )
    yield Figure(
        "ar_sync_last_duration_seconds",
        "From the snapshot of the newest archive until it was published or applied.",
        [({"kind": one.kind}, (one.at - one.snapshot_at).total_seconds()) for one in newest],
    )
    known = ((one.kind, sizes.get(one.name, one.size_bytes)) for one in newest)
    yield Figure(
        "ar_sync_last_archive_size_bytes",
        "Size of the newest archive.",
        [({"kind": kind}, size_bytes) for kind, size_bytes in known if size_bytes is not None],
    )


def _of_space(settings: SenderSettings | ReceiverSettings) -> Iterator[Figure]:
    spaces = known_spaces(filled_folders(settings))
    yield Figure(
        "ar_sync_free_bytes",
        "Free space on the disk of a folder.",
        [({"folder": name}, space.free_bytes) for name, space in spaces.items()],
    )
    yield Figure(
        "ar_sync_free_ratio",
        "Free part of what ordinary users can fill, from 0 to 1.",
        [({"folder": name}, space.free_percent / 100) for name, space in spaces.items()],
    )


def _of_incidents(settings: SenderSettings | ReceiverSettings) -> Iterator[Figure]:
    """Yield what `ar-sync incidents` lists; without a file of incidents it is not known."""
    path = incidents_file(settings)
    is_there = not why_none_is_recorded(path)
    yield Figure(
        "ar_sync_open_incidents",
        "Incidents that last.",
        [({}, len(IncidentStore(path, ()).open_incidents()))] if is_there else [],
    )
    yield Figure(
        "ar_sync_unsent_alerts",
        "Alerts that did not get through.",
        [({}, len(Outbox(path).unsent()))] if is_there else [],
    )
