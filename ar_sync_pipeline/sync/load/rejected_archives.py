"""Parked and quarantined archives that still matter, whichever run rejected them.

A run checks only some archives, so its own rejections do not show what is still wrong: a parked
complete is still parked after a run that loaded partials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ar_sync_pipeline.archive.converted import OLD_SYSTEM
from ar_sync_pipeline.archive.errors import NewerFormatError, UnreadableArchiveError
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    SpoolState,
    list_parked,
    list_quarantined,
)
from ar_sync_pipeline.sync.errors import (
    ArchiveParkedError,
    FutureArchiveError,
    ReplacedSenderError,
    SetBackError,
    StillArrivingError,
)
from ar_sync_pipeline.sync.load.applied_chain import content_until, is_brought, promised_chain
from ar_sync_pipeline.sync.load.intakes import other_archives
from ar_sync_pipeline.sync.rejection import Rejection

_OF_THE_GATE = frozenset(
    error.code
    for error in (
        ArchiveParkedError,
        FutureArchiveError,
        NewerFormatError,
        SetBackError,
        StillArrivingError,
        UnreadableArchiveError,
    )
)


def parked_by_gate(settings: ReceiverSettings) -> tuple[Rejection, ...]:
    """Return archives that wait for the receiver's schema, rights, version, clock or history.

    An archive of another system is converted before the gate, so whatever it waits for counts.
    """
    own = [r for r in _parked(settings) if r.code in _OF_THE_GATE]
    return (*own, *map(Rejection.read, _of_other_systems(settings, SpoolState.PARKED)))


def parked_by_load(settings: ReceiverSettings) -> tuple[Rejection, ...]:
    """Return archives that match and wait for something else, such as an operator's approval."""
    return tuple(r for r in _parked(settings) if r.code not in _OF_THE_GATE)


def lost_in_quarantine(
    settings: ReceiverSettings, ledger: Sequence[AppliedArchive]
) -> tuple[Rejection, ...]:
    """Return quarantined archives whose content the receiver wants and still lacks.

    Once the unbroken chain reaches a partial's snapshot, another archive has brought it; that of a
    complete comes with a later complete only.
    """
    until = content_until(ledger, promised_chain(ledger))
    quarantined = [
        *list_quarantined(settings.remote_bkp_fldr),
        *_of_other_systems(settings, SpoolState.QUARANTINED),
    ]
    return tuple(
        Rejection.read(archive) for archive in quarantined if is_lost(archive, ledger, until)
    )


def is_lost(
    archive: SpooledArchive,
    ledger: Sequence[AppliedArchive],
    until: Mapping[ArchiveKind, datetime | None],
) -> bool:
    """Return whether the receiver wants and still lacks the content of a quarantined archive.

    While it follows the new sender, it wants nothing of what the old one still sends.

    Args:
        until: Result of `content_until`.
    """
    return not is_brought(archive.name, until) and not (
        _follows_new_sender(ledger) and _is_of_replaced_sender(archive)
    )


def _follows_new_sender(ledger: Sequence[AppliedArchive]) -> bool:
    old = OLD_SYSTEM.system_identifier
    return any(line.system_identifier != old and not line.superseded for line in ledger)


def _is_of_replaced_sender(archive: SpooledArchive) -> bool:
    reason = read_reason(archive.path)
    return reason is not None and reason.error == ReplacedSenderError.code


def _parked(settings: ReceiverSettings) -> list[Rejection]:
    return [*map(Rejection.read, list_parked(settings.remote_bkp_fldr))]


def _of_other_systems(settings: ReceiverSettings, state: SpoolState) -> list[SpooledArchive]:
    return [archive for archive in other_archives(settings) if archive.state is state]
