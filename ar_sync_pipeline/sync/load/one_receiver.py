"""One spool has one receiver: another database that loads from it, and still does, is an error.

A database that took the place of a lost one is let in when the mark of the lost one is old.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from ar_sync_pipeline.archive.spool_names import RECEIPTS
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.own_database import read_own_database
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.errors import ReceiptError
from ar_sync_pipeline.spool.receiver_mark import ReceiverMark
from ar_sync_pipeline.sync.errors import SpoolOfAnotherError
from ar_sync_pipeline.visible_text import visible


def check_receiver_of_spool(
    settings: ReceiverSettings, connection: Connection, now: datetime
) -> None:
    """Check that no other receiver has loaded from the spool within AR_SYNC_MAX_LAG.

    Raises:
        SpoolOfAnotherError: Another one has.
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses.
    """
    spool, here = settings.remote_bkp_fldr, read_own_database(connection)
    mark = _read(spool)
    if here is None or mark is None:
        return
    is_this = (mark.system_identifier, mark.database) == (here.system_identifier, here.database)
    if is_this or not mark.is_recent(now, timedelta(minutes=settings.max_lag)):
        return
    raise SpoolOfAnotherError(
        f"another receiver loads from the spool {spool}: database {visible(mark.database)} (cluster"
        f" {visible(mark.system_identifier)}) did at {mark.at:%Y-%m-%d %H:%M:%S} UTC, and this one"
        f" is {visible(here.database)} (cluster {here.system_identifier})",
        remedy="give each receiver a pair and a spool of its own (AR_SYNC_PAIR,"
        " AR_SYNC_REMOTE_BKP_FLDR); only if this database took the place of that one, delete"
        f" {spool / RECEIPTS / ReceiverMark.FILE}",
    )


def mark_spool(spool: Path, connection: Connection, at: datetime) -> None:
    """Mark the spool as this receiver's.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses.
    """
    if here := read_own_database(connection):
        mark = ReceiverMark(at=at, system_identifier=here.system_identifier, database=here.database)
        mark.write(spool, signing_keys=())


def _read(spool: Path) -> ReceiverMark | None:
    """Read the mark, whatever the signing keys: those of two receivers may differ."""
    try:
        return ReceiverMark.read(spool, signing_keys=())
    except ReceiptError:
        return None  # the next load writes it again
