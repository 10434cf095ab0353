"""Check of what the receiver reports about its checkpoint and about an archive.

The next partial contains every change since the checkpoint, so a wrong checkpoint must never be
later than the true one. The sender's own journal decides if it can:

- a point in the journal is accepted if all its facts are equal;
- a point that is not in the journal and is newer than its oldest point was never sent;
- a point older than the journal, or any point if the journal is lost (a new machine), is accepted
  if it is consistent: an archive's id is derived from the other facts of its watermark. The dump
  then compares it with the database (`ar_sync_pipeline.export.history`): it must be of the same
  history, not after the present, and contain the outcomes of that dump's transactions.

A point in the future is accepted only from the journal: the sender's own clock was set back. If a
receiver reports an archive that was sent to it but that it does not have, the sender cannot detect
this. Only that receiver is affected, until the next complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ar_sync_pipeline.archive.converted import OLD_SYSTEM
from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.clock import CLOCK_TOLERANCE
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.receipts import Receipt, ReceiptState
from ar_sync_pipeline.sync.dump.assemble import archive_id_of
from ar_sync_pipeline.sync.dump.sender_journal_file import SentArchive

_HISTORY = ("system_identifier", "timeline")
_TICKS = timedelta(seconds=1)


def is_of_old_system(point: Watermark) -> bool:
    """Return whether a point is an archive of the old system; no partial can start from it."""
    return point.system_identifier == OLD_SYSTEM.system_identifier


def checkpoint_problem(point: Watermark, known: Sequence[Watermark], now: datetime) -> str | None:
    """Return what is wrong with the receiver's point, as the end of a sentence; None if accepted.

    Args:
        known: Points that the sender remembers; empty if its journal is lost.
    """
    own = next((p for p in known if p.archive_id == point.archive_id), None)
    if own is not None:
        wrong = [
            name for name in Watermark.model_fields if getattr(own, name) != getattr(point, name)
        ]
        return f"gives archive {point.archive_id} another {wrong[0]}" if wrong else None
    if point.snapshot_at > now + CLOCK_TOLERANCE:
        return f"is dated {point.snapshot_at.isoformat()}, in the future"
    if point.archive_id != archive_id_of(point):
        return f"gives archive {point.archive_id} facts that do not belong to it"
    if known and not _is_before(point, min(known, key=lambda p: p.snapshot_at)):
        return f"names archive {point.archive_id}, which this sender never sent"
    return None


def latest_date(checkpoint: Checkpoint | None, now: datetime) -> datetime:
    """Return the latest date of an archive that the receiver does not park.

    It loads an archive that is dated shortly after its own checkpoint.
    """
    reached = checkpoint.watermark if checkpoint else None
    latest = now + CLOCK_TOLERANCE
    return max(latest, reached.snapshot_at + _TICKS) if reached else latest


def receipt_problem(receipt: Receipt, archive: SentArchive) -> str | None:
    """Return what is wrong with a receipt, as the end of a sentence; None if it is accepted."""
    if receipt.archive != archive.name:
        return f"is that of {receipt.archive}"
    refused = receipt.state in (ReceiptState.PARKED, ReceiptState.QUARANTINED)
    # The receiver does not know the id of an archive that could not be read.
    if receipt.archive_id != archive.watermark.archive_id and not (
        refused and receipt.archive_id is None
    ):
        return f"gives it the id {receipt.archive_id}"
    return None


def _is_before(point: Watermark, oldest: Watermark) -> bool:
    """Return whether a point is older than the journal, by its date and by the database's order."""
    if point.snapshot_at >= oldest.snapshot_at:
        return False
    if any(getattr(point, name) != getattr(oldest, name) for name in _HISTORY):
        return True
    return _xmax(point) <= _xmax(oldest) and (point.lsn or 0) <= (oldest.lsn or 2**63)


def _xmax(point: Watermark) -> int:
    return int(point.snapshot.split(":")[1])
