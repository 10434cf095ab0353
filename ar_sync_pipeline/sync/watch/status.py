"""The state of the pair in one table, on either side (design, section 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.ledger import (
    AppliedArchive,
    has_ledger,
    read_ledger,
    read_summarized,
)
from ar_sync_pipeline.postgres.table_definitions import read_unverified
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.states import (
    SpoolState,
    list_parked,
    list_quarantined,
    list_waiting,
)
from ar_sync_pipeline.sync.load.intakes import other_archives
from ar_sync_pipeline.sync.load.load_plan import promised_chain
from ar_sync_pipeline.sync.load.unsent_tables import unsent_tables
from ar_sync_pipeline.sync.rejection import Rejection
from ar_sync_pipeline.sync.watch.lag import Backlog, Lag, explain_lag
from ar_sync_pipeline.sync.watch.open_incidents import (
    NO_INCIDENTS,
    OpenIncidents,
    read_open_incidents,
)

_BAD = frozenset({"parked", "quarantined", "not acknowledged", "not believed"})


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
        unverified: Tables whose rows DDL at the receiver has changed, until a complete is applied.
        known_at: When the receiver wrote what the sender shows; None on the receiver itself, and if
            it never wrote anything.
        incidents: Open incidents of this side.
    """

    side: str
    lag: Lag
    archives: tuple[StateCount, ...]
    link_is_up: bool = True
    gaps: int = 0
    is_late: bool = False
    unsent: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    known_at: datetime | None = None
    incidents: OpenIncidents = NO_INCIDENTS

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        wrong = self.gaps or self.is_late or self.lag.ahead or not self.link_is_up
        wrong = bool(wrong or self.unsent or self.unverified or self.incidents.found)
        return not wrong and not any(one.count for one in self.archives if one.state in _BAD)

    def count(self, state: str) -> int:
        """Return the number of archives in a state."""
        return sum(each.count for each in self.archives if each.state == state)


def receiver_status(settings: ReceiverSettings, now: datetime) -> Status:
    """Read the state from the ledger and the spool.

    Raises:
        DatabaseUnreachableError: The receiver's database cannot be reached.
        SpoolMissingError: The spool does not exist.
    """
    spool = settings.remote_bkp_fldr
    with connect(
        settings.receiver_database_url.get_secret_value(), application="status"
    ) as connection:
        ledger, unsent, unverified, earlier = _recorded(connection, settings)
    old = other_archives(settings)
    waiting, parked, refused = (
        [*found, *(archive for archive in old if archive.state is state)]
        for found, state in (
            (list_waiting(spool), SpoolState.WAITING),
            (list_parked(spool), SpoolState.PARKED),
            (list_quarantined(spool), SpoolState.QUARANTINED),
        )
    )
    chain = promised_chain(ledger, waiting)
    reasons = [Rejection.read(archive).problem for archive in parked]
    incidents = read_open_incidents(settings)
    lost = [a for a in refused if chain is None or a.name.snapshot_at > chain.until]
    lag = explain_lag(
        chain.until if chain else None,
        now,
        timedelta(minutes=settings.partial_interval),
        Backlog(
            gaps=len(chain.gaps) if chain else 0,
            new_history=any(gap.new_history for gap in chain.gaps) if chain else False,
            waiting=len(waiting),
            parked=reasons,
            quarantined=len(lost),
            unsent=unsent,
            unverified=unverified,
            faults=incidents.faults,
        ),
    )
    late = lag.minutes_behind is None or lag.minutes_behind > settings.max_lag
    applied = [line for line in ledger if not line.superseded]
    superseded = [line for line in ledger if line.superseded]
    return Status(
        "receiver",
        lag,
        (
            count("waiting", [a.name.applied for a in waiting]),
            count("applied", [line.name for line in applied], earlier=earlier[0]),
            count("superseded", [line.name for line in superseded], earlier=earlier[1]),
            count(
                "parked",
                [a.name.applied for a in parked],
                "; ".join(reasons),
            ),
            count(
                "quarantined",
                [a.name.applied for a in lost],
                "; ".join(Rejection.read(archive).problem for archive in lost),
            ),
            count(
                "made good since",
                [a.name.applied for a in refused if a not in lost],
                "in quarantine; what they held has come with later archives",
            ),
        ),
        gaps=len(chain.gaps) if chain else 0,
        is_late=late,
        unsent=unsent,
        unverified=unverified,
        incidents=incidents,
    )


def _recorded(
    connection: Connection, settings: ReceiverSettings
) -> tuple[Sequence[AppliedArchive], tuple[str, ...], tuple[str, ...], tuple[int, int]]:
    """Return the ledger, unsent and unverified tables, and the counts of summarized archives."""
    if not has_ledger(connection):
        return [], (), (), (0, 0)
    return (
        read_ledger(connection),
        unsent_tables(connection, load_catalog(settings.catalog)),
        read_unverified(connection),
        (
            read_summarized(connection, superseded=False),
            read_summarized(connection, superseded=True),
        ),
    )


def count(state: str, names: Sequence[str], note: str = "", *, earlier: int = 0) -> StateCount:
    """Return how many archives are in a state, and the newest of them.

    Args:
        names: Applied names of the archives.
        earlier: Further archives of this state that the ledger only counts.
    """
    newest = max(names, key=lambda name: name.rpartition("_")[2], default="")
    return StateCount(state, len(names) + earlier, newest, note if names else "")
