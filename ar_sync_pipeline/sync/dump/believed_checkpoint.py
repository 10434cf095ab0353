"""Whether the sender believes what the receiver says of its position and of an archive.

A position tells from where the next partial carries every change, so a wrong one must never be
later than the truth. The sender's own journal decides wherever it can:

- a point in the journal is believed if it is that point in every fact;
- a point that is not in the journal, and not older than all that is, was never sent;
- a point older than the journal, or any point where the journal is lost (a new machine), is
  believed if it agrees with itself: an archive's id follows from the other facts of its watermark.
  The dump then compares it with the database (`ar_sync_pipeline.export.history`): it must be of
  the same history, not beyond the present one, and name the outcomes of that dump's transactions.

A point in the future is believed from the journal only: the sender's own clock was set back. A
receiver that claims an archive which it was sent and does not hold cannot be told from one that
holds it. It harms itself alone, until the next complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ar_sync_pipeline.archive.converted import OLD_SYSTEM
from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.clock import CLOCK_TOLERANCE
from ar_sync_pipeline.spool.receipts import Receipt, ReceiptState
from ar_sync_pipeline.sync.dump.assemble import archive_id_of
from ar_sync_pipeline.sync.dump.sent_archives import SentArchive

_HISTORY = ("system_identifier", "timeline")


def is_of_old_system(point: Watermark) -> bool:
    """Whether a point is an archive of the old system, from which nothing can be carried on."""
    return point.system_identifier == OLD_SYSTEM.system_identifier


def checkpoint_problem(point: Watermark, known: Sequence[Watermark], now: datetime) -> str | None:
    """What is wrong with the receiver's point, as the end of a sentence; None: it is believed.

    Args:
        known: the points that the sender remembers; empty where its journal is lost.
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


def receipt_problem(receipt: Receipt, archive: SentArchive) -> str | None:
    """What is wrong with a receipt, as the end of a sentence; None: it acknowledges the archive."""
    if receipt.archive != archive.name:
        return f"is that of {receipt.archive}"
    refused = receipt.state in (ReceiptState.PARKED, ReceiptState.QUARANTINED)
    # Of an archive that could not be read the receiver knows no id.
    if receipt.archive_id != archive.watermark.archive_id and not (
        refused and receipt.archive_id is None
    ):
        return f"gives it the id {receipt.archive_id}"
    return None


def _is_before(point: Watermark, oldest: Watermark) -> bool:
    """Whether a point is older than the journal, by its date and by the database's own order."""
    if point.snapshot_at >= oldest.snapshot_at:
        return False
    if any(getattr(point, name) != getattr(oldest, name) for name in _HISTORY):
        return True
    return _xmax(point) <= _xmax(oldest) and (point.lsn or 0) <= (oldest.lsn or 2**63)


def _xmax(point: Watermark) -> int:
    return int(point.snapshot.split(":")[1])
