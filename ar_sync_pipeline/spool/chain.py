"""Chain of applied archives without a gap: a pure function of the ledger.

A partial covers the span from its watermark to its snapshot. Spans that join, starting at the
base, form the chain. If a span begins after the end of the chain, there is a gap between the two.
The first archive that covers the gap closes it. Only a complete closes a gap in which the sender's
database was restored or replaced, since no partial of one history tells what another has changed.
A partial of another database than the base's is no part of the chain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ar_sync_pipeline.archive.names import ArchiveKind

Source = tuple[str, str]
"""The database that an archive comes from: system identifier of its cluster, and its name."""


@dataclass(frozen=True)
class Span:
    """An archive that the ledger records as applied.

    Attributes:
        covers_from: Time from which a partial contains every change; None: unknown, because the
            sender had no watermark to start from (its first run, or a failover).
        new_history: Whether the sender's database was restored or replaced before the archive.
        source: Database that it comes from; None: the old system's, whatever that is.
    """

    archive_id: UUID
    kind: ArchiveKind
    snapshot_at: datetime
    covers_from: datetime | None = None
    new_history: bool = False
    source: Source | None = None


@dataclass(frozen=True)
class Gap:
    """An interval of the sender's history from which changes may be missing.

    Attributes:
        start: Time up to which no change is missing.
        end: Time from which the next applied archive contains every change; None: unknown.
        before: Id of the archive that was applied after the gap.
        new_history: Whether the sender's database was restored or replaced in the gap.
    """

    start: datetime
    end: datetime | None
    before: UUID
    new_history: bool = False

    def __str__(self) -> str:
        """Return the gap in words for an operator."""
        if self.new_history:
            return (
                f"after {self.start:%Y-%m-%d %H:%M:%S} UTC the sender's database was restored from"
                " a backup, failed over, or was replaced by another one, and what it lost or"
                " changed in doing so may still be missing here; or only this receiver's spool was"
                " lost or rebuilt"
            )
        if self.end is None:
            return (
                f"changes after {self.start:%Y-%m-%d %H:%M:%S} UTC may be missing, since the sender"
                " did not know what the receiver has"
            )
        return (
            f"changes between {self.start:%Y-%m-%d %H:%M:%S} and {self.end:%Y-%m-%d %H:%M:%S} UTC"
            " may be missing"
        )


@dataclass(frozen=True)
class Chain:
    """The unbroken chain of applied archives.

    Attributes:
        until: Time of the sender's state that the receiver has, except deletions since the base.
        end: Id of the archive with this snapshot.
        gaps: Known gaps after the chain, and those that only a complete closes, oldest first.
    """

    until: datetime
    end: UUID
    gaps: tuple[Gap, ...]


def chain_of(ledger: Iterable[Span]) -> Chain | None:
    """Return the unbroken chain of applied archives from the newest complete on; None without one.

    Args:
        ledger: Applied archives, without superseded ones.
    """
    base, later = _base_and_later(ledger)
    if base is None:
        return None
    end, reached, gaps = base, base.snapshot_at, list[Gap]()
    for span in later:
        if _joins(span, end):
            end, gaps = span, [gap for gap in gaps if gap.new_history]
        elif span.covers_from is None or span.covers_from > reached:
            gap = Gap(reached, span.covers_from, span.archive_id, new_history=span.new_history)
            gaps.append(gap)
        reached = span.snapshot_at
    return Chain(end.snapshot_at, end.archive_id, tuple(gaps))


def joined(ledger: Iterable[Span]) -> frozenset[UUID]:
    """Return the base and the partials that join the chain, without those after a gap.

    A partial that joins contains every row that differs from the receiver's state. A receiver row
    that contradicts it and is not in it was therefore deleted at the sender.
    """
    end, later = _base_and_later(ledger)
    if end is None:
        return frozenset()
    found = {end.archive_id}
    for span in later:
        if _joins(span, end):
            end = span
            found.add(span.archive_id)
    return frozenset(found)


def _base_and_later(ledger: Iterable[Span]) -> tuple[Span | None, list[Span]]:
    spans = list(ledger)
    base = newest_complete(spans)
    later = (
        span
        for span in spans
        if span.kind is ArchiveKind.PARTIAL and base and span.snapshot_at > base.snapshot_at
        if same_source(span.source, base.source)
    )
    return base, sorted(later, key=lambda span: (span.snapshot_at, span.archive_id))


def _joins(span: Span, end: Span) -> bool:
    return span.covers_from is not None and span.covers_from <= end.snapshot_at


def same_source(one: Source | None, other: Source | None) -> bool:
    """Return whether two archives come from one database, as far as known."""
    return None in (one, other) or one == other


def newest_complete(spans: Iterable[Span]) -> Span | None:
    """Return the complete with the latest snapshot."""
    completes = (span for span in spans if span.kind is ArchiveKind.COMPLETE)
    return max(completes, key=lambda span: span.snapshot_at, default=None)
