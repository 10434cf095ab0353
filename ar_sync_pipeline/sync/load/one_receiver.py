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
from ar_sync_pipeline.postgres.own_database import read_own_database
from ar_sync_pipeline.spool.errors import ReceiptError, SpoolAccessError, SpoolMissingError
from ar_sync_pipeline.spool.receiver_mark import ALIVE_FOR, ReceiverMark, SignOfLife
from ar_sync_pipeline.sync.load.newest_archive import not_superseded
from ar_sync_pipeline.visible_text import visible

_RENEWED_AFTER = timedelta(minutes=2)


def give_sign(
    spool: Path, connection: Connection, ledger: Sequence[AppliedArchive], now: datetime
) -> None:
    """Write that this receiver is alive, if it has applied anything and its last sign is old."""
    here = read_own_database(connection)
    if here is None or not not_superseded(ledger):
        return
    signs = _signs(spool, now)
    own = signs.get(str(here))
    if own is not None and timedelta(0) <= now - own.at < _RENEWED_AFTER:
        return
    signs[str(here)] = SignOfLife(since=own.since if own is not None else now, at=now)
    with suppress(SpoolAccessError, SpoolMissingError):  # what depends on the spool reports it
        ReceiverMark(receivers=signs).write(spool, signing_keys=())


def other_receiver(
    spool: Path, connection: Connection, ledger: Sequence[AppliedArchive], now: datetime
) -> Finding | None:
    """Return the finding that another database takes archives from the spool, too.

    It is a warning as long as this database may have taken the place of that one.
    """
    here, signs = read_own_database(connection), _signs(spool, now)
    own = signs.pop(str(here), None)
    if here is None or not signs:
        return None
    database, other = max(signs.items(), key=lambda one: one[1].at)
    beside = other.at > own.since if own is not None else not not_superseded(ledger)
    return Finding(
        Level.ERROR if beside else Level.WARNING,
        f"another receiver loads from the spool {spool}, too: database {visible(database)} was at"
        f" work at {other.at:%H:%M:%S} UTC, and this one is {visible(str(here))}",
        "stop one of the two, or give it a pair and a spool of its own (AR_SYNC_PAIR,"
        " AR_SYNC_REMOTE_BKP_FLDR); if this database took the place of that one, nothing is to be"
        f" done, and this ends within {ALIVE_FOR // timedelta(minutes=1)} minutes",
    )


def _signs(spool: Path, now: datetime) -> dict[str, SignOfLife]:
    """Return the signs of all receivers, whatever their signing keys; none if unreadable."""
    with suppress(ReceiptError, SpoolAccessError, SpoolMissingError):
        mark = ReceiverMark.read(spool, signing_keys=())
        return mark.alive(now) if mark is not None else {}
    return {}
