"""Parked and quarantined archives that still matter, whichever run rejected them.

A run checks only some archives, so its own rejections do not show what is still wrong: a parked
complete is still parked after a run that loaded partials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ar_sync_pipeline.archive.errors import NewerFormatError, UnreadableArchiveError
from ar_sync_pipeline.errors import LONGEST_PROBLEM, LONGEST_REMEDY
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.spool.reasons import Reason, read_reason
from ar_sync_pipeline.spool.states import SpooledArchive, list_parked, list_quarantined
from ar_sync_pipeline.sync.errors import (
    ArchiveParkedError,
    FutureArchiveError,
    StillArrivingError,
)
from ar_sync_pipeline.sync.load.load_plan import promised_chain
from ar_sync_pipeline.visible_text import visible

_OF_THE_GATE = frozenset(
    error.code
    for error in (
        ArchiveParkedError,
        FutureArchiveError,
        NewerFormatError,
        StillArrivingError,
        UnreadableArchiveError,
    )
)


@dataclass(frozen=True)
class RejectedArchive:
    """An archive that was not applied, and why.

    Attributes:
        name: Name of the archive, without the prefix of waiting ones.
    """

    name: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        """Return one sentence for people: the problem, then the remedy."""
        return f"{self.reason}: {self.remedy}."


def parked_by_gate(spool: Path) -> tuple[RejectedArchive, ...]:
    """Return archives that wait for the receiver's schema, rights, version or clock, by age."""
    return tuple(_reject(a, r) for a, r in _parked(spool) if _is_the_gates(r))


def parked_by_load(spool: Path) -> tuple[RejectedArchive, ...]:
    """Return archives that match and wait for something else, such as an operator's approval."""
    return tuple(_reject(a, r) for a, r in _parked(spool) if not _is_the_gates(r))


def lost_in_quarantine(
    spool: Path, ledger: Sequence[AppliedArchive]
) -> tuple[RejectedArchive, ...]:
    """Return quarantined archives whose content no other archive has brought yet.

    Once the unbroken chain reaches an archive's snapshot, another archive has brought it.
    """
    chain = promised_chain(ledger)
    return tuple(
        _reject(archive, read_reason(archive.path))
        for archive in list_quarantined(spool)
        if chain is None or archive.name.snapshot_at > chain.until
    )


def _parked(spool: Path) -> list[tuple[SpooledArchive, Reason | None]]:
    return [(archive, read_reason(archive.path)) for archive in list_parked(spool)]


def _is_the_gates(reason: Reason | None) -> bool:
    return reason is not None and reason.error in _OF_THE_GATE


def _reject(archive: SpooledArchive, reason: Reason | None) -> RejectedArchive:
    name = archive.name.applied
    if reason is None:
        return RejectedArchive(name, f"{name} lies in {archive.path.parent}", "look why")
    # Anybody who may write to the spool may have written it.
    return RejectedArchive(
        name, visible(reason.reason, LONGEST_PROBLEM), visible(reason.remedy, LONGEST_REMEDY)
    )
