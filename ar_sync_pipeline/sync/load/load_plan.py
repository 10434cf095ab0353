"""Where the spool, the ledger and the plan meet: what a load will do with which files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.postgres.ledger import AppliedArchive, covers_from
from ar_sync_pipeline.spool.chain import Chain, Span, chain_of
from ar_sync_pipeline.spool.plan import Candidate, LoadPlan, plan_load
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    SpoolState,
    list_applied,
    list_waiting,
)
from ar_sync_pipeline.sync.errors import ArchiveRefusedError
from ar_sync_pipeline.sync.load.dates import SnapshotMark, applied_marks, is_overtaken


@dataclass(frozen=True)
class ArchivesAtHand:
    """The archives that a load may use, and what it is to do with them.

    Attributes:
        known: ids of the archives that the ledger holds as applied.
    """

    archives: dict[UUID, SpooledArchive]
    manifests: dict[UUID, Manifest]
    plan: LoadPlan
    known: frozenset[UUID]

    def path(self, archive_id: UUID) -> Path:
        """The file of an archive."""
        return self.archives[archive_id].path

    def new_before(self, archive_id: UUID) -> UUID:
        """The archive itself if it is new, else the last new one that is applied before it.

        An archive that was applied before can only fail because of what now comes before it.
        """
        ids = [candidate.archive_id for candidate in self.plan.apply]
        before = ids[: ids.index(archive_id) + 1]
        return next(found for found in reversed(before) if found not in self.known)

    def names(self, candidates: Sequence[Candidate]) -> tuple[str, ...]:
        """The names of archives, without the prefix of waiting ones."""
        return tuple(self.archives[c.archive_id].name.applied for c in candidates)


def archives_at_hand(
    spool: Path, names: Collection[str], ledger: Sequence[AppliedArchive], now: datetime
) -> ArchivesAtHand:
    """Plan a load of the admitted archives of these names.

    Args:
        names: applied-form names; waiting archives of other names are left alone.

    Raises:
        ArchiveRefusedError: an archive was damaged after it was admitted or applied.
    """
    known = {line.name for line in ledger}
    # A copy that waits comes first: its renaming also takes the place of the other one.
    admitted = {
        archive.name: archive
        for archive in (*unknown_to(known, list_applied(spool)), *list_waiting(spool))
        if archive.name.applied in names
    }
    return plan_for(spool, list(admitted.values()), ledger, now)


def plan_for(
    spool: Path,
    admitted: Sequence[SpooledArchive],
    ledger: Sequence[AppliedArchive],
    now: datetime,
) -> ArchivesAtHand:
    """Plan a load of these archives and of the applied ones that belong behind them."""
    applied = {line.name for line in ledger if not line.superseded}
    oldest = min((a.name.snapshot_at for a in admitted), default=None)
    retained = [
        archive
        for archive in list_applied(spool)
        if archive.name.applied in applied - {a.name.applied for a in admitted}
        and oldest is not None
        and archive.name.snapshot_at > oldest
    ]
    archives, manifests, candidates = {}, {}, []
    for archive in [*admitted, *retained]:
        manifest = _manifest_of(archive)
        archives[manifest.archive_id] = archive
        manifests[manifest.archive_id] = manifest
        candidates.append(
            Candidate(
                manifest.archive_id,
                manifest.kind,
                manifest.snapshot_at,
                waiting=archive.state is not SpoolState.APPLIED,
                covers_from=covers_from(manifest),
            )
        )
    held = spans(ledger)
    known = frozenset(span.archive_id for span in held)
    overtaken = _overtaken(manifests, ledger, now)
    plan = plan_load([c for c in candidates if c.archive_id not in overtaken], held)
    left_out = tuple(c for c in candidates if c.archive_id in overtaken)
    plan = replace(plan, superseded=(*plan.superseded, *left_out))
    return ArchivesAtHand(archives, manifests, plan, known)


def _overtaken(
    manifests: Mapping[UUID, Manifest], ledger: Sequence[AppliedArchive], now: datetime
) -> frozenset[UUID]:
    """New archives that were made before others and are dated after them."""
    known = {line.archive_id for line in ledger if not line.superseded}
    marks = applied_marks(ledger) + [SnapshotMark.of(manifest) for manifest in manifests.values()]
    return frozenset(
        archive_id
        for archive_id, manifest in manifests.items()
        if archive_id not in known and is_overtaken(manifest, marks, now)
    )


def _manifest_of(archive: SpooledArchive) -> Manifest:
    try:
        with open_archive(archive.path) as reader:
            return reader.manifest
    except CorruptArchiveError as error:
        raise ArchiveRefusedError(archive, error) from error


def unknown_to(known: Collection[str], archives: Sequence[SpooledArchive]) -> list[SpooledArchive]:
    """Archives that bear an applied name and that the ledger does not hold.

    The ledger is the truth: a database that was restored from a backup gets them again.
    """
    return [archive for archive in archives if archive.name.applied not in known]


def spans(ledger: Sequence[AppliedArchive]) -> list[Span]:
    """The ledger's applied archives, as the plan sees them."""
    return [
        Span(line.archive_id, line.kind, line.snapshot_at, line.covers_from)
        for line in ledger
        if not line.superseded
    ]


def chain_in(ledger: Sequence[AppliedArchive]) -> Chain | None:
    """Up to when the receiver shows the sender's data without a hole."""
    return chain_of(spans(ledger))
