"""The lag of the receiver, as its own ledger, spool and incidents show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import errors_of
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.ledger import AppliedArchive, read_ledger, read_summarized
from ar_sync_pipeline.postgres.ledger_tables import check_catalog, open_existing_ledger
from ar_sync_pipeline.postgres.table_definitions import read_unverified
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.chain import Chain
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    SpoolState,
    list_applied,
    list_parked,
    list_quarantined,
    list_waiting,
)
from ar_sync_pipeline.sync.load.applied_chain import content_until, passed_over, promised_chain
from ar_sync_pipeline.sync.load.examine_again import examine_again
from ar_sync_pipeline.sync.load.intakes import other_archives
from ar_sync_pipeline.sync.load.load_plan import unknown_to
from ar_sync_pipeline.sync.load.lost_media import lost_media
from ar_sync_pipeline.sync.load.missing_parts import missing_parts
from ar_sync_pipeline.sync.load.newest_archive import Arrival, last_arrival
from ar_sync_pipeline.sync.load.one_receiver import other_receiver
from ar_sync_pipeline.sync.load.rejected_archives import is_lost
from ar_sync_pipeline.sync.load.unsent_tables import unsent_tables
from ar_sync_pipeline.sync.load.vanished_archives import vanished_archives
from ar_sync_pipeline.sync.rejection import Rejection, as_state, by_cause, most_urgent_first
from ar_sync_pipeline.sync.watch.arrived_archives import (
    Arrived,
    at_possible_times,
    complete_due_within,
    newest_of_each_kind,
    overdue_in_words,
    overdue_since,
)
from ar_sync_pipeline.sync.watch.disk_space import low_disks
from ar_sync_pipeline.sync.watch.lag import (
    CLOCK_WAS_WRONG,
    Backlog,
    count_newer,
    explain_lag,
    lacks_last_window,
)
from ar_sync_pipeline.sync.watch.open_incidents import read_open_incidents
from ar_sync_pipeline.sync.watch.status import (
    PARKED_REPLACED,
    REPLACED,
    VANISHED,
    StateCount,
    Status,
    count,
    each_once,
)


def receiver_status(settings: ReceiverSettings, catalog: Catalog, now: datetime) -> Status:
    """Read the state from the ledger and the spool.

    Raises:
        DatabaseUnreachableError: The receiver's database cannot be reached.
        LedgerOfAnotherCatalogError: The ledger is another catalog's.
        SpoolMissingError: The spool does not exist.
    """
    url = settings.database_url
    with connect(url, application="status") as connection:
        recorded = _recorded(connection, catalog, settings)
        other = _other(connection, settings, recorded, now)
    spooled = _spooled(settings, recorded.ledger)
    vanished = vanished_archives(settings, recorded.ledger, now)
    incidents, low = read_open_incidents(settings), low_disks(settings)
    media = [recorded.lost_media] if recorded.lost_media else []
    parked = examine_again(settings, catalog, spooled.parked, now)
    chain = promised_chain(recorded.ledger, spooled.waiting)
    until = content_until(recorded.ledger, chain)
    lost = [a for a in spooled.quarantined if is_lost(a, recorded.ledger, until)]
    newest = newest_of_each_kind(recorded.applied)
    unapplied = (*spooled.waiting, *spooled.parked, *lost)
    ignored = passed_over(recorded.ledger, spooled.waiting)
    within = complete_due_within(settings, now)
    possible = at_possible_times(recorded.applied, now)
    overdue = _overdue_complete(possible, newest, () if ignored else unapplied, within)
    interval = timedelta(minutes=settings.partial_interval)
    last = last_arrival(settings.remote_bkp_fldr, recorded.ledger, now)
    faults = [*overdue_in_words(overdue, ignored), *media, *other, *low, *incidents.faults]
    backlog = replace(
        _backlog(recorded, spooled, parked, vanished, chain, lost, faults),
        nothing_newer=_nothing_newer(last, now, interval),
    )
    lag = explain_lag(chain.until if chain else None, now, interval, backlog)
    return Status(
        "receiver",
        lag,
        (
            *_counts(recorded, spooled, parked, lost),
            *_if_any(PARKED_REPLACED, [one for one in parked if one.replaced]),
            *_if_any(VANISHED, vanished),
        ),
        gaps=len(chain.gaps) if chain else 0,
        is_late=lag.minutes_behind is None or lag.minutes_behind > settings.max_lag,
        unsent=recorded.unsent,
        missing=recorded.missing,
        unverified=recorded.unverified,
        newest=newest,
        overdue_complete=overdue,
        incidents=incidents,
        low_disks=low,
        lost_media=recorded.lost_media,
        other_receiver="".join(other),
        parked=tuple(parked),
    )


@dataclass(frozen=True)
class _Recorded:
    """What the receiver's database records; tables and archives by their names and numbers.

    Attributes:
        lost_media: As of `Status`.
    """

    ledger: Sequence[AppliedArchive] = ()
    unsent: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    summarized_applied: int = 0
    summarized_superseded: int = 0
    lost_media: str = ""

    @property
    def applied(self) -> list[Arrived]:
        """Archives of which the receiver has rows."""
        return [
            Arrived(line.name, line.kind, line.snapshot_at, line.applied_at)
            for line in self.ledger
            if not line.superseded
        ]


def _recorded(connection: Connection, catalog: Catalog, settings: ReceiverSettings) -> _Recorded:
    if not open_existing_ledger(connection):
        return _Recorded()
    check_catalog(connection, catalog.name)
    lost = lost_media(connection, settings.receiver_media_fldr)
    return _Recorded(
        read_ledger(connection),
        unsent_tables(connection, catalog),
        missing_parts(connection, catalog),
        read_unverified(connection),
        read_summarized(connection, superseded=False),
        read_summarized(connection, superseded=True),
        f"{lost.problem}; {lost.remedy}" if lost is not None else "",
    )


def _other(
    connection: Connection, settings: ReceiverSettings, recorded: _Recorded, now: datetime
) -> list[str]:
    found = other_receiver(settings.remote_bkp_fldr, connection, recorded.ledger, now)
    return [f"{one.problem}; {one.remedy}" for one in errors_of([found] if found else [])]


@dataclass(frozen=True)
class _Spooled:
    """Archives in the spool that are not applied, by state."""

    waiting: Sequence[SpooledArchive]
    parked: Sequence[SpooledArchive]
    quarantined: Sequence[SpooledArchive]


def _spooled(settings: ReceiverSettings, ledger: Sequence[AppliedArchive]) -> _Spooled:
    """List the archives; the ledger, not their names, says which wait for the next load.

    It does not know all applied names if the database was restored, and it knows some waiting ones
    after a load was killed between its commit and the renaming.
    """
    spool: Path = settings.remote_bkp_fldr
    known = {line.name for line in ledger}
    old = other_archives(settings)
    return _Spooled(
        *(
            [*found, *(archive for archive in old if archive.state is state)]
            for found, state in (
                (
                    unknown_to(known, [*list_waiting(spool), *list_applied(spool)]),
                    SpoolState.WAITING,
                ),
                (list_parked(spool), SpoolState.PARKED),
                (list_quarantined(spool), SpoolState.QUARANTINED),
            )
        )
    )


def _backlog(
    recorded: _Recorded,
    spooled: _Spooled,
    parked: Sequence[Rejection],
    vanished: Sequence[Rejection],
    chain: Chain | None,
    lost: Sequence[SpooledArchive],
    faults: Sequence[str],
) -> Backlog:
    unapplied = (*spooled.waiting, *spooled.parked, *lost)
    until = chain.until if chain else None
    in_the_way = most_urgent_first((one for one in parked if not one.replaced), until)
    return Backlog(
        gaps=len(chain.gaps) if chain else 0,
        new_history=any(gap.new_history for gap in chain.gaps) if chain else False,
        waiting=len(spooled.waiting),
        newer=count_newer((a.name for a in spooled.waiting), until),
        vanished=[f"{one.clause}; {one.remedy}" for one in vanished],
        parked=[as_state(one.clause, one.remedy) for one in in_the_way],
        quarantined=len(lost),
        unsent=recorded.unsent,
        missing=recorded.missing,
        unverified=recorded.unverified,
        is_overtaken=chain is not None
        and not chain.gaps
        and all(archive.name.snapshot_at <= chain.until for archive in unapplied),
        faults=faults,
    )


def _nothing_newer(last: Arrival | None, now: datetime, interval: timedelta) -> str:
    """Return why the data is late: nothing came, or what came is dated long before."""
    if last is None or lacks_last_window(last.at, now, interval):
        return Backlog.nothing_newer
    if last.follows_another:
        return CLOCK_WAS_WRONG
    return (
        f"the newest archive arrived at {last.at:%H:%M:%S} UTC and is dated"
        f" {last.name.snapshot_at:%Y-%m-%d %H:%M:%S}: its upload took that long, or the clock of"
        " the sender or that of the receiver is wrong; see the runbook, 'A clock was wrong'"
    )


def _overdue_complete(
    arrived: Sequence[Arrived],
    newest: Sequence[Arrived],
    unapplied: Sequence[SpooledArchive],
    within: timedelta,
) -> datetime | None:
    """Return when the newest complete was applied, if the next one is overdue.

    One that waits or is rejected is reported by its state.

    Args:
        unapplied: Archives in the spool; none of them counts if loads pass a complete over.
    """
    applied = [one.snapshot_at for one in newest if one.kind is ArchiveKind.COMPLETE]
    came = [
        archive.name.snapshot_at
        for archive in unapplied
        if archive.name.kind is ArchiveKind.COMPLETE
    ]
    is_here = applied and came and max(came) > max(applied)
    return None if is_here else overdue_since(arrived, within)


def _counts(
    recorded: _Recorded,
    spooled: _Spooled,
    parked: Sequence[Rejection],
    lost: Sequence[SpooledArchive],
) -> list[StateCount]:
    applied = [one.name for one in recorded.applied]
    superseded = [line.name for line in recorded.ledger if line.superseded]
    replaced = [archive for archive in spooled.quarantined if archive not in lost]
    in_the_way = [one for one in parked if not one.replaced]
    return [
        count("waiting", _names(spooled.waiting)),
        count("applied", applied, _not_compared(recorded), earlier=recorded.summarized_applied),
        count("superseded", superseded, earlier=recorded.summarized_superseded),
        count("parked", [one.name for one in in_the_way], _reasons(in_the_way)),
        count("quarantined", _names(lost), _reasons(map(Rejection.read, lost))),
        count(
            REPLACED,
            _names(replaced),
            "what they held has come with later archives, or their sender was replaced",
        ),
    ]


def _not_compared(recorded: _Recorded) -> str:
    """Return what the newest complete could not verify, since later partials have changed it."""
    completes = [
        line
        for line in recorded.ledger
        if line.kind is ArchiveKind.COMPLETE and not line.superseded
    ]
    if not completes or completes[-1].unverified_chunks is None:
        return ""
    found = Lacking.model_validate(completes[-1].unverified_chunks)
    return (
        f"the newest complete could not verify {found.in_words}, which later partials have changed;"
        " the next one carries it"
    )


def _names(archives: Sequence[SpooledArchive]) -> list[str]:
    return [archive.name.applied for archive in archives]


def _if_any(state: str, found: Sequence[Rejection]) -> Iterator[StateCount]:
    if found:
        yield count(state, [one.name for one in found], _reasons(found))


def _reasons(rejections: Iterable[Rejection]) -> str:
    return each_once(as_state(one.clause, one.remedy) for one in by_cause(rejections))
