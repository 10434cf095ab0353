"""The state of the whole in one table, on either side (design, section 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger import ensure_ledger, read_ledger, read_summarized
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import (
    SpoolState,
    list_parked,
    list_quarantined,
    list_waiting,
)
from ar_sync_pipeline.sync.dump.receiver_view import observe_receiver
from ar_sync_pipeline.sync.dump.sent_archives import read_sent
from ar_sync_pipeline.sync.dump.watermark import unacknowledged
from ar_sync_pipeline.sync.load.intakes import other_archives
from ar_sync_pipeline.sync.load.load_plan import promised_chain
from ar_sync_pipeline.sync.load.unsent_tables import unsent_tables
from ar_sync_pipeline.sync.watch.lag import Backlog, Lag, explain_lag


@dataclass(frozen=True)
class StateCount:
    """How many archives are in one state.

    Attributes:
        newest: the name of the newest one; empty if there is none.
        note: what an operator should know of them.
    """

    state: str
    count: int
    newest: str = ""
    note: str = ""


@dataclass(frozen=True)
class Status:
    """One side's view.

    Attributes:
        side: ``sender`` or ``receiver``.
        link_is_up: whether the receiver could be asked; always true on the receiver itself.
        gaps: stretches that are known to be missing.
        is_late: the data is older than ``AR_SYNC_MAX_LAG`` at the receiver, or there is none.
        unsent: replicated tables with rows at the receiver that the sender no longer sends.
        known_at: when the receiver said what the sender shows; None on the receiver itself, and if
            it never said anything.
    """

    side: str
    lag: Lag
    archives: tuple[StateCount, ...]
    link_is_up: bool = True
    gaps: int = 0
    is_late: bool = False
    unsent: tuple[str, ...] = ()
    known_at: datetime | None = None

    def count(self, state: str) -> int:
        """How many archives are in a state."""
        return sum(each.count for each in self.archives if each.state == state)


def receiver_status(settings: ReceiverSettings, now: datetime) -> Status:
    """Look at the ledger and into the spool.

    Raises:
        DatabaseUnreachableError: the receiver's database is not there.
        SpoolMissingError: the spool is not there.
    """
    spool = settings.remote_bkp_fldr
    with connect(
        settings.receiver_database_url.get_secret_value(), application="status"
    ) as connection:
        ensure_ledger(connection)
        ledger = read_ledger(connection)
        unsent = unsent_tables(connection, load_catalog(settings.catalog))
        earlier = [read_summarized(connection, superseded=state) for state in (False, True)]
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
    reasons = [(a.name.applied, read_reason(a.path)) for a in parked]
    lost = [a for a in refused if chain is None or a.name.snapshot_at > chain.until]
    lag = explain_lag(
        chain.until if chain else None,
        now,
        timedelta(minutes=settings.partial_interval),
        Backlog(
            gaps=len(chain.gaps) if chain else 0,
            new_history=any(gap.new_history for gap in chain.gaps) if chain else False,
            waiting=len(waiting),
            parked=[reason.reason if reason else f"{name} is parked" for name, reason in reasons],
            quarantined=len(lost),
            unsent=unsent,
        ),
    )
    late = lag.minutes_behind is None or lag.minutes_behind > settings.max_lag
    applied = [line for line in ledger if not line.superseded]
    superseded = [line for line in ledger if line.superseded]
    return Status(
        "receiver",
        lag,
        (
            _count("waiting", [a.name.applied for a in waiting]),
            _count("applied", [line.name for line in applied], earlier=earlier[0]),
            _count("superseded", [line.name for line in superseded], earlier=earlier[1]),
            _count(
                "parked",
                [a.name.applied for a in parked],
                "; ".join(reason.reason for _, reason in reasons if reason),
            ),
            _count(
                "quarantined",
                [a.name.applied for a in lost],
                "; ".join(reason.reason for a in lost if (reason := read_reason(a.path))),
            ),
            _count(
                "made good since",
                [a.name.applied for a in refused if a not in lost],
                "in quarantine; what they held has come with later archives",
            ),
        ),
        gaps=len(chain.gaps) if chain else 0,
        is_late=late,
        unsent=unsent,
    )


def sender_status(settings: SenderSettings, now: datetime) -> Status:
    """Look at the sender's journal, and over SFTP at the receiver's position and spool.

    Raises:
        TerminalError: the host key, the login or the spool is wrong.
    """
    view, sent = observe_receiver(settings, lambda: now), read_sent(settings.tmp_bkp_fldr)
    position = view.position
    lag = explain_lag(
        position.watermark.snapshot_at if position and position.watermark else None,
        now,
        timedelta(minutes=settings.partial_interval),
        Backlog(
            gaps=position.gaps if position else 0,
            waiting=len(view.waiting or ()),
            parked=[parked.reason for parked in position.parked] if position else [],
            quarantined=position.quarantined if position else 0,
        ),
    )
    late = unacknowledged(view, sent, now, timedelta(minutes=settings.acknowledge_within))
    return Status(
        "sender",
        lag,
        (
            _count("sent", [a.name for a in sent], "those of the last days"),
            _count("not acknowledged", [a.name for a in late]),
            *([_not_believed(view.problems)] if view.problems else []),
            _count("waiting", sorted(view.waiting or ())),
            _count(
                "parked",
                [parked.archive for parked in position.parked] if position else [],
                "; ".join(parked.reason for parked in position.parked) if position else "",
            ),
            StateCount(
                "quarantined",
                position.quarantined if position else 0,
                note="`ar-sync status` at the receiver says which and why"
                if position and position.quarantined
                else "",
            ),
        ),
        link_is_up=view.waiting is not None,
        gaps=position.gaps if position else 0,
        known_at=position.at if position else None,
    )


def _not_believed(problems: Sequence[str]) -> StateCount:
    return StateCount("not believed", len(problems), note="; ".join(problems))


def _count(state: str, names: Sequence[str], note: str = "", *, earlier: int = 0) -> StateCount:
    newest = max(names, key=lambda name: name.rpartition("_")[2], default="")
    return StateCount(state, len(names) + earlier, newest, note if names else "")
