"""Where the spool, the ledger and the plan meet: what a load will do with which files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.spool.plan import Candidate, LoadPlan, Span, data_until, plan_load
from ar_sync_pipeline.spool.states import SpooledArchive, list_applied, list_waiting


@dataclass(frozen=True)
class ArchivesAtHand:
    """The archives that a load may use, and what it is to do with them."""

    archives: dict[UUID, SpooledArchive]
    manifests: dict[UUID, Manifest]
    plan: LoadPlan

    def path(self, archive_id: UUID) -> Path:
        """The file of an archive."""
        return self.archives[archive_id].path

    def names(self, candidates: Sequence[Candidate]) -> tuple[str, ...]:
        """The names of archives, without the prefix of waiting ones."""
        return tuple(self.archives[c.archive_id].name.applied for c in candidates)


def archives_at_hand(
    spool: Path, names: Collection[str], ledger: Sequence[AppliedArchive]
) -> ArchivesAtHand:
    """Plan a load.

    Args:
        names: applied-form names of the waiting archives that were admitted; others are left.
    """
    waiting = [a for a in list_waiting(spool) if a.name.applied in names]
    oldest = min((a.name.snapshot_at for a in waiting), default=None)
    retained = [
        a for a in list_applied(spool) if oldest is not None and a.name.snapshot_at > oldest
    ]
    archives, manifests, candidates = {}, {}, []
    for archive in [*waiting, *retained]:
        with open_archive(archive.path) as reader:
            manifest = reader.manifest
        archives[manifest.archive_id] = archive
        manifests[manifest.archive_id] = manifest
        candidates.append(
            Candidate(
                manifest.archive_id,
                manifest.kind,
                manifest.snapshot_at,
                waiting=archive in waiting,
            )
        )
    return ArchivesAtHand(archives, manifests, plan_load(candidates, spans(ledger)))


def spans(ledger: Sequence[AppliedArchive]) -> list[Span]:
    """The ledger's applied archives, as the plan sees them."""
    return [
        Span(line.archive_id, line.kind, line.snapshot_at, line.covers_from)
        for line in ledger
        if not line.superseded
    ]


def shown_until(ledger: Sequence[AppliedArchive]) -> datetime | None:
    """Up to when the receiver shows the sender's data without a hole."""
    return data_until(spans(ledger))
