"""Applied archives that were made before a new one, although they are dated after it.

The sender's clock was set back after the receiver had applied them, and the sender did not know of
it: the receiver names the end of its unbroken chain only, and the sender's journal may be lost.
Applied after the new archive, as their dates say, they would take readers back in time, and a gap
before them would never be closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.chain import Span, joined
from ar_sync_pipeline.spool.load_order import Candidate
from ar_sync_pipeline.sync.load.dates import Histories


def replaced_archives(
    histories: Histories, held: Sequence[Span], new: Sequence[Candidate]
) -> frozenset[UUID]:
    """Return the applied archives that new ones replace because these carry all they held.

    A complete does so, and a partial without a gap before it; but a partial carries no deletions,
    so it replaces no complete.

    Args:
        held: Applied archives of the ledger.
    """
    overtaken_by = _overtaken_by(histories, held, new)
    overtaken = frozenset[UUID]().union(*overtaken_by.values())
    others = [span for span in held if span.archive_id not in overtaken]
    without_gap = joined([*others, *(c.span for c in new)])
    found = (ids for archive_id, ids in overtaken_by.items() if archive_id in without_gap)
    return frozenset[UUID]().union(*found)


def _overtaken_by(
    histories: Histories, held: Sequence[Span], new: Sequence[Candidate]
) -> dict[UUID, frozenset[UUID]]:
    """Return, by new archive, the applied ones made before it that are dated after it."""
    found = {}
    for candidate in new:
        mark = histories.mark(histories.at_hand[candidate.archive_id])
        found[candidate.archive_id] = frozenset(
            span.archive_id
            for span in held
            if ArchiveKind.COMPLETE is candidate.kind or span.kind is ArchiveKind.PARTIAL
            if histories.applied[span.archive_id].came_before(mark)
        )
    return found
