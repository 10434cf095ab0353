"""What a load does with the archives at hand: a pure function of archives and ledger.

The receiver's state is a function of the set of archives: the newest complete, then all later
partials in the order of their snapshots (design, section 7). A load restores exactly that state,
whatever order the archives arrived in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from ar_sync_pipeline.archive.names import ArchiveKind


@dataclass(frozen=True)
class Candidate:
    """An archive that could be applied.

    Attributes:
        waiting: new in the spool; False: applied before and retained.
    """

    archive_id: UUID
    kind: ArchiveKind
    snapshot_at: datetime
    waiting: bool = True


@dataclass(frozen=True)
class Span:
    """An archive that the ledger holds as applied.

    Attributes:
        covers_from: from when a partial carries every change; None: nobody knows.
    """

    archive_id: UUID
    kind: ArchiveKind
    snapshot_at: datetime
    covers_from: datetime | None = None


_Archive = TypeVar("_Archive", Candidate, Span)


@dataclass(frozen=True)
class LoadPlan:
    """What to do, in order.

    Attributes:
        apply: archives to apply one after the other in one transaction; may hold retained ones
            that must be applied once more behind an older archive that came late.
        superseded: waiting archives that are older than the base and bring nothing.
        healed: waiting archives that the ledger already holds; only their names are to change.
    """

    apply: tuple[Candidate, ...]
    superseded: tuple[Candidate, ...]
    healed: tuple[Candidate, ...]


def plan_load(candidates: Sequence[Candidate], ledger: Sequence[Span]) -> LoadPlan:
    """Decide what to apply, what is superseded, and what was applied already.

    Args:
        candidates: waiting archives, and the retained ones that were applied before.
        ledger: what has been applied; superseded archives left out.
    """
    known = {span.archive_id for span in ledger}
    healed = [c for c in candidates if c.waiting and c.archive_id in known]
    new = [c for c in candidates if c.waiting and c.archive_id not in known]
    retained = [c for c in candidates if c.archive_id in known]
    applied_base = _newest(span for span in ledger if span.kind is ArchiveKind.COMPLETE)
    new_base = _newest(c for c in new if c.kind is ArchiveKind.COMPLETE)
    if new_base is not None and (
        applied_base is None or new_base.snapshot_at > applied_base.snapshot_at
    ):
        return _from_base(new_base, new, retained, healed)
    base_at = applied_base.snapshot_at if applied_base else None
    return _from_deltas(base_at, new, retained, healed)


def data_until(ledger: Sequence[Span]) -> datetime | None:
    """The end of the unbroken chain of snapshots from the base; None without a base."""
    base = _newest(span for span in ledger if span.kind is ArchiveKind.COMPLETE)
    if base is None:
        return None
    until = base.snapshot_at
    for span in sorted(ledger, key=lambda span: span.snapshot_at):
        joins = span.covers_from is not None and span.covers_from <= until
        if span.kind is ArchiveKind.PARTIAL and joins:
            until = max(until, span.snapshot_at)
    return until


def _from_base(
    base: Candidate,
    new: Iterable[Candidate],
    retained: Iterable[Candidate],
    healed: Sequence[Candidate],
) -> LoadPlan:
    others = [candidate for candidate in new if candidate is not base]
    later = [
        c
        for c in (*others, *retained)
        if c.kind is ArchiveKind.PARTIAL and c.snapshot_at > base.snapshot_at
    ]
    superseded = [c for c in others if c not in later]
    return LoadPlan((base, *_by_snapshot(later)), _by_snapshot(superseded), tuple(healed))


def _from_deltas(
    base_at: datetime | None,
    new: Sequence[Candidate],
    retained: Iterable[Candidate],
    healed: Sequence[Candidate],
) -> LoadPlan:
    deltas = [
        c
        for c in new
        if c.kind is ArchiveKind.PARTIAL and (base_at is None or c.snapshot_at > base_at)
    ]
    superseded = _by_snapshot(c for c in new if c not in deltas)
    if not deltas:
        return LoadPlan((), superseded, tuple(healed))
    oldest = min(c.snapshot_at for c in deltas)
    again = [c for c in retained if c.kind is ArchiveKind.PARTIAL and c.snapshot_at > oldest]
    return LoadPlan(_by_snapshot([*deltas, *again]), superseded, tuple(healed))


def _newest(archives: Iterable[_Archive]) -> _Archive | None:
    return max(archives, key=lambda archive: archive.snapshot_at, default=None)


def _by_snapshot(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    return tuple(sorted(candidates, key=lambda c: (c.snapshot_at, c.archive_id)))
