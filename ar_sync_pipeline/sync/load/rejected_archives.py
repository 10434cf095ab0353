"""Archives that lie parked or in quarantine and still matter, whichever run put them there.

A run looks at some archives only, so what it refused itself says little about what is still wrong:
a parked complete is no less parked after a run that loaded partials.
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
        name: of the archive, without the prefix of waiting ones.
    """

    name: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        """One sentence for people: the problem, then the remedy."""
        return f"{self.reason}: {self.remedy}."


def parked_by_gate(spool: Path) -> tuple[RejectedArchive, ...]:
    """Archives that wait for the receiver's schema, rights, version or clock, oldest first."""
    return tuple(_reject(a, r) for a, r in _parked(spool) if _is_the_gates(r))


def parked_by_load(spool: Path) -> tuple[RejectedArchive, ...]:
    """Archives that fit and wait for something else, such as an operator's word."""
    return tuple(_reject(a, r) for a, r in _parked(spool) if not _is_the_gates(r))


def lost_in_quarantine(
    spool: Path, ledger: Sequence[AppliedArchive]
) -> tuple[RejectedArchive, ...]:
    """Quarantined archives of which nothing has yet brought what they held.

    Once the unbroken chain has passed an archive's snapshot, another one has.
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
    # Whoever may write to the spool may have written it.
    return RejectedArchive(
        name, visible(reason.reason, LONGEST_PROBLEM), visible(reason.remedy, LONGEST_REMEDY)
    )
