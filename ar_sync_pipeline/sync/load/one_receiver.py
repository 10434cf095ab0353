"""One spool has one receiver: two that load from it are told, and neither is refused.

A database that was moved, upgraded or restored under another name looks like a second one until the
signs of the one before are old. It does not count as one unless the other gives signs beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.postgres.own_database import OwnDatabase, read_own_database
from ar_sync_pipeline.spool.errors import ReceiptError, SpoolAccessError, SpoolMissingError
from ar_sync_pipeline.spool.receiver_mark import (
    ALIVE_FOR,
    RENEWED_AFTER,
    ReceiverMark,
    SignOfLife,
)
from ar_sync_pipeline.sync.load.newest_archive import not_superseded
from ar_sync_pipeline.visible_text import visible


def give_sign(
    spool: Path, connection: Connection, ledger: Sequence[AppliedArchive], now: datetime
) -> None:
    """Write that this receiver is alive, if it has applied anything and the last sign is old.

    What keeps it from being written is reported by what depends on it.
    """
    here = read_own_database(connection)
    if here is None or not not_superseded(ledger):
        return
    with suppress(SpoolAccessError, SpoolMissingError):
        own, others = _alive(spool, here, now)
        if own is not None and timedelta(0) <= now - own.at < RENEWED_AFTER:
            return
        sign = SignOfLife(
            system_identifier=here.system_identifier,
            timeline=here.timeline,
            database=here.database,
            since=own.since if own is not None else now,
            at=now,
        )
        ReceiverMark(receivers=(*others, sign)).write(spool, signing_keys=())


def other_receiver(
    spool: Path, connection: Connection, ledger: Sequence[AppliedArchive], now: datetime
) -> Finding | None:
    """Return the finding that another database takes archives from the spool, too.

    It is a warning as long as this database may have taken the place of that one.
    """
    here = read_own_database(connection)
    if here is None:
        return None
    try:
        own, others = _alive(spool, here, now)
    except (SpoolAccessError, SpoolMissingError):
        return None  # the check of the spool reports it
    if not others:
        return None
    other = max(others, key=lambda one: one.at)
    beside = other.at > own.since if own is not None else not not_superseded(ledger)
    return Finding(
        Level.ERROR if beside else Level.WARNING,
        f"another receiver loads from the spool {spool}, too: database {visible(other.database)}"
        f" of cluster {visible(other.system_identifier)} was at work at {other.at:%H:%M:%S} UTC,"
        f" and this one is {visible(here.database)} of cluster {here.system_identifier}",
        "stop one of the two, or give it a pair and a spool of its own (AR_SYNC_PAIR,"
        " AR_SYNC_REMOTE_BKP_FLDR); if this database took the place of that one, nothing is to be"
        f" done, and this ends within {ALIVE_FOR // timedelta(minutes=1)} minutes",
    )


def _alive(
    spool: Path, here: OwnDatabase, now: datetime
) -> tuple[SignOfLife | None, list[SignOfLife]]:
    """Return this receiver's sign and those of others, whatever the signing keys of each."""
    try:
        mark = ReceiverMark.read(spool, signing_keys=()) or ReceiverMark()
    except ReceiptError:
        mark = ReceiverMark()  # the next sign replaces it
    found = mark.alive(now)
    others = [one for one in found if not one.is_of(here)]
    return next((one for one in found if one.is_of(here)), None), others
