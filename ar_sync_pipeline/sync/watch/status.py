"""The state of the pair in one table, on either side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ar_sync_pipeline.sync.rejection import Rejection
from ar_sync_pipeline.sync.watch.arrived_archives import Arrived
from ar_sync_pipeline.sync.watch.lag import Lag
from ar_sync_pipeline.sync.watch.open_incidents import NO_INCIDENTS, OpenIncidents

# State of a quarantined archive whose content came with later archives.
REPLACED = "quarantined, replaced"
# State of a parked archive whose content has come; the next load takes it away.
PARKED_REPLACED = "parked, replaced"
# State of an archive that is gone from the spool and was not applied.
VANISHED = "vanished"
# Archives that the receiver has of another sender, or of this one before it was restored.
NEVER_SENT = "never sent"
_BAD = frozenset(
    {VANISHED, NEVER_SENT, "parked", "quarantined", "not acknowledged", "not believed"}
)


@dataclass(frozen=True)
class StateCount:
    """Number of archives in one state.

    Attributes:
        state: The state.
        count: Number of archives.
        newest: Name of the newest one; empty if there is none.
        note: Explanation.
    """

    state: str
    count: int
    newest: str = ""
    note: str = ""


@dataclass(frozen=True)
class Status:
    """The state, as one side sees it.

    Attributes:
        side: ``sender`` or ``receiver``.
        lag: Lag of the receiver.
        archives: Number of archives by state.
        link_is_up: Whether the receiver could be reached; always true on the receiver itself.
        gaps: Number of known gaps.
        is_late: Whether the data is missing or too old: older than ``AR_SYNC_MAX_LAG`` at the
            receiver, than ``AR_SYNC_ACKNOWLEDGE_WITHIN`` and one window at the sender.
        unsent: Replicated tables with rows at the receiver that the sender no longer sends.
        missing: Tables and columns that the sender sends and the receiver lacks; empty at the
            sender.
        unverified: Tables whose rows DDL or other rules changed, until a complete is applied.
        newest: The newest archive of each kind that was sent (sender) or applied (receiver).
        overdue_complete: When the newest complete came, if the next one is overdue; else None.
        known_at: When the receiver wrote what the sender shows; None on the receiver itself, and if
            it never wrote anything.
        incidents: Open incidents of this side.
        low_disks: Which folders of this side cannot be written, or have less free space than
            ``AR_SYNC_FREE_SPACE_FLOOR``, as clauses.
        lost_media: That the receiver's media folder lacks its files, as a clause; empty if it does
            not, or at the sender.
        other_receiver: That another receiver loads from the spool, too, as a clause; empty if none
            does, or at the sender.
        parked: Why parked archives wait now, not when they were parked; empty at the sender.
    """

    side: str
    lag: Lag
    archives: tuple[StateCount, ...]
    link_is_up: bool = True
    gaps: int = 0
    is_late: bool = False
    unsent: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    newest: tuple[Arrived, ...] = ()
    overdue_complete: datetime | None = None
    known_at: datetime | None = None
    incidents: OpenIncidents = NO_INCIDENTS
    low_disks: tuple[str, ...] = ()
    lost_media: str = ""
    other_receiver: str = ""
    parked: tuple[Rejection, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        wrong = (
            self.gaps,
            self.is_late,
            self.lag.ahead,
            not self.link_is_up,
            self.unsent,
            self.missing,
            self.unverified,
            self.overdue_complete,
            self.incidents.faults,
            self.low_disks,
            self.lost_media,
            self.other_receiver,
            *(one.count for one in self.archives if one.state in _BAD),
        )
        return not any(wrong)

    def count(self, state: str) -> int:
        """Return the number of archives in a state."""
        return sum(each.count for each in self.archives if each.state == state)


def each_once(reasons: Iterable[str]) -> str:
    """Return reasons as one text; many archives may have the same one."""
    return "; ".join(dict.fromkeys(reasons))


def count(state: str, names: Sequence[str], note: str = "", *, earlier: int = 0) -> StateCount:
    """Return how many archives are in a state, and the newest of them.

    Args:
        names: Applied names of the archives.
        earlier: Further archives of this state that the ledger only counts.
    """
    newest = max(names, key=lambda name: name.rpartition("_")[2], default="")
    return StateCount(state, len(names) + earlier, newest, note if names else "")
