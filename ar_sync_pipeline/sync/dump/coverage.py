"""The tables of which the receiver may lack changes up to the point from which a partial starts.

A partial does not read every table: one is too large, or has ``watermark = false``. What it leaves
out comes with a later partial that carries the table whole, or with the next complete that the
receiver applies, however late. If later partials have changed a chunk that such a complete does not
carry, the receiver could not compare it; it then lacks what it lacked before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.lacking import MOST_UNVERIFIED_CHUNKS, Lacking
from ar_sync_pipeline.spool.receipts import ReceiptState
from ar_sync_pipeline.sync.dump.journal_of_tables import MOST_UNREAD
from ar_sync_pipeline.sync.dump.sender_journal_file import SentArchive, UnreadTables, read_journal

_START = datetime.min.replace(tzinfo=UTC)


def uncovered_at(scratch: Path, at: datetime, tables: frozenset[str]) -> frozenset[str]:
    """Return the tables of which the receiver may lack changes up to the archive of a snapshot.

    Args:
        tables: Replicated tables.
    """
    journal = read_journal(scratch)
    sent = (*journal.completes, *journal.archives)
    completes = [a for a in sent if a.kind is ArchiveKind.COMPLETE and _date(a) <= at]
    computed = [one.snapshot_at for one in journal.digests if one.snapshot_at <= at]
    # A journal of an earlier version has completes and no list of what its partials left out. These
    # count as read, as they did then: otherwise partials would be parked until the next complete.
    # If the journal is lost, there is no complete either, and nothing is known: when there
    # is one again, applied or not, a partial before it has carried every table or left it out.
    before = frozenset[str]() if computed or completes else tables
    begin = _START
    applied = {_date(a): a.lacking for a in completes if a.state is ReceiptState.APPLIED}
    if at in computed:
        applied.setdefault(at, None)
    starts = {a.since.snapshot_at for a in sent if a.since is not None} | {at}
    partials = _Partials(journal.unread, starts, tables)
    for end, unverified in sorted(applied.items(), key=lambda one: one[0]):
        left = partials.uncovered(before, begin, end)
        before = frozenset(name for name in left if _may_be_unverified(unverified, name))
        begin = end
    return partials.uncovered(before, begin, at)


@dataclass(frozen=True)
class _Partials:
    """What the partials left out.

    Attributes:
        unread: Oldest first; if it is `MOST_UNREAD`, not of all.
        starts: Points that the receiver had, so that later partials start from them.
        tables: Replicated tables.
    """

    unread: Sequence[UnreadTables]
    starts: set[datetime]
    tables: frozenset[str]

    def uncovered(self, before: frozenset[str], begin: datetime, end: datetime) -> frozenset[str]:
        """Return the uncovered tables at the end of a time, of those at its begin."""
        if len(self.unread) >= MOST_UNREAD and begin < self.unread[0].last_at:
            before = self.tables  # older ones are forgotten
        for one in self.unread:
            if begin < one.last_at and one.first_at <= end:
                if one.last_at in self.starts:
                    before -= frozenset(one.made_up)
                before |= frozenset(one.names)
        return before & self.tables


def _may_be_unverified(unverified: Lacking | None, table: str) -> bool:
    """Return whether an applied complete may have left chunks of a table uncompared."""
    if unverified is None:
        return False
    named = sum(len(one.chunks) or 1 for one in unverified.tables)
    is_full = unverified.everything or named >= MOST_UNVERIFIED_CHUNKS
    return is_full or any(one.name == table for one in unverified.tables)


def _date(archive: SentArchive) -> datetime:
    return archive.watermark.snapshot_at
