"""Order in which a load applies archives: a pure function of archives and ledger.

The receiver's state is a function of the set of archives: the newest complete, then all later
partials in the order of their snapshots. A load restores exactly this state, in whatever order the
archives arrive.

A late partial is skipped if the unbroken chain already ends after it: the receiver has all its
rows, in the same or a newer version, and rows that the sender deleted since would only come back.

Applied partials of another database than the base's are not applied again after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.chain import (
    Source,
    Span,
    chain_of,
    joined,
    newest_complete,
    same_source,
)


@dataclass(frozen=True)
class Candidate:
    """An archive that could be applied.

    Attributes:
        waiting: Whether the archive has a waiting name. The ledger may not know an archive with
            an applied name, if the database was restored from a backup.
        covers_from: Time from which a partial contains every change; None: unknown.
        source: As in `Span`.
    """

    archive_id: UUID
    kind: ArchiveKind
    snapshot_at: datetime
    waiting: bool = True
    covers_from: datetime | None = None
    source: Source | None = None

    @property
    def span(self) -> Span:
        """The archive as if the ledger recorded it as applied."""
        return Span(
            self.archive_id, self.kind, self.snapshot_at, self.covers_from, source=self.source
        )


@dataclass(frozen=True)
class LoadPlan:
    """Plan of a load.

    Attributes:
        apply: Archives to apply in order in one transaction. They include retained archives that
            must be applied again after an older archive that arrived late.
        superseded: Archives without new rows: older than the base, or partials before the end of
            the unbroken chain.
        already_applied: Waiting archives that the ledger records as applied; a killed load did
            not rename them.
        held_back: Late archives that would take readers back in time, because a later applied
            archive was deleted and cannot be applied again after them.
        after_gap: Ids of the archives in ``apply`` that start after a gap.
    """

    apply: tuple[Candidate, ...]
    superseded: tuple[Candidate, ...] = ()
    already_applied: tuple[Candidate, ...] = ()
    held_back: tuple[Candidate, ...] = ()
    after_gap: frozenset[UUID] = frozenset()


def plan_load(candidates: Sequence[Candidate], ledger: Sequence[Span]) -> LoadPlan:
    """Decide which archives to apply, and which are superseded or already applied.

    Args:
        candidates: Waiting archives and retained applied ones.
        ledger: Applied archives, without superseded ones.
    """
    known = {span.archive_id for span in ledger}
    already_applied = [c for c in candidates if c.waiting and c.archive_id in known]
    retained = [c for c in candidates if c.archive_id in known]
    unknown = _by_snapshot(c for c in candidates if c.archive_id not in known)
    chain = chain_of(ledger)
    covered = tuple(c for c in unknown if chain and _is_covered(c, chain.until))
    new = tuple(c for c in unknown if c not in covered)
    held_back: list[Candidate] = []
    while True:
        base = newest_complete([*ledger, *(c.span for c in new)])
        source = base.source if base else None
        again = [c for c in retained if same_source(c.source, source)]
        plan = _restore(new, again, ledger)
        back = _goes_back(plan.apply, [s for s in ledger if same_source(s.source, source)])
        if not back:
            return LoadPlan(
                plan.apply,
                _by_snapshot((*covered, *plan.superseded)),
                tuple(already_applied),
                _by_snapshot(held_back),
                _after_gap(plan.apply, ledger),
            )
        late = next(c for c in plan.apply if c in new)
        held_back.append(late)
        new = tuple(c for c in new if c is not late)


def _restore(
    new: Sequence[Candidate], retained: Sequence[Candidate], ledger: Sequence[Span]
) -> LoadPlan:
    """Return the archives that restore the state of the new and the applied archives."""
    base = newest_complete(ledger)
    base_at = base.snapshot_at if base else None
    new_base = max(
        (c for c in new if c.kind is ArchiveKind.COMPLETE and _later(c, base_at)),
        key=lambda c: c.snapshot_at,
        default=None,
    )
    if new_base is not None:
        base_at = new_base.snapshot_at
    deltas = [c for c in new if c.kind is ArchiveKind.PARTIAL and _later(c, base_at)]
    first = [new_base] if new_base else []
    superseded = tuple(c for c in new if c not in first and c not in deltas)
    start = min((c.snapshot_at for c in (*first, *deltas)), default=None)
    if start is None:
        return LoadPlan((), superseded)
    again = [c for c in retained if c.kind is ArchiveKind.PARTIAL and c.snapshot_at > start]
    return LoadPlan((*first, *_by_snapshot([*deltas, *again])), superseded)


def _goes_back(apply: Sequence[Candidate], ledger: Sequence[Span]) -> bool:
    """Return whether applying these archives leaves a row older than it was before.

    Everything after the first archive is written again up to the end of the unbroken chain of the
    others. An applied archive after that end must be one of them.
    """
    if not apply:
        return False
    at_hand = {candidate.archive_id for candidate in apply}
    reached = apply[0].snapshot_at
    for candidate in apply[1:]:
        if candidate.covers_from is not None and candidate.covers_from <= reached:
            reached = candidate.snapshot_at
    return any(
        span.kind is ArchiveKind.PARTIAL
        and span.snapshot_at > reached
        and span.archive_id not in at_hand
        for span in ledger
    )


def _is_covered(candidate: Candidate, whole_until: datetime) -> bool:
    return candidate.kind is ArchiveKind.PARTIAL and candidate.snapshot_at <= whole_until


def _after_gap(apply: Sequence[Candidate], ledger: Sequence[Span]) -> frozenset[UUID]:
    spans = {span.archive_id: span for span in ledger}
    for c in apply:
        spans[c.archive_id] = c.span
    return frozenset(spans) - joined(spans.values())


def _later(candidate: Candidate, base_at: datetime | None) -> bool:
    return base_at is None or candidate.snapshot_at > base_at


def _by_snapshot(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    return tuple(sorted(candidates, key=lambda c: (c.snapshot_at, c.archive_id)))
