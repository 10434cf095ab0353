"""Archives of another system that a receiver takes over: what such a system implements."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ar_sync_pipeline.archive.converted import OLD_SYSTEM
from ar_sync_pipeline.archive.manifest import SenderIdentity
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.states import SpooledArchive
from ar_sync_pipeline.sync.errors import ArchiveParkedError, ForeignArchiveError
from ar_sync_pipeline.sync.rejection import Rejection


@dataclass
class TakenOver:
    """What became of the archives that an intake examined."""

    parked: list[Rejection] = field(default_factory=list)
    quarantined: list[Rejection] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class IntakeContext:
    """The receiver that archives are converted for.

    Attributes:
        tables: Tables of the receiver by label.
        sender: Sender whose archives the receiver loads; None before the first.
    """

    settings: ReceiverSettings
    catalog: Catalog
    tables: dict[str, TableFacts]
    sender: SenderIdentity | None
    ledger: Sequence[AppliedArchive]
    clock: Clock


class Intake(Protocol):
    """Converts archives of another system, which lie in the spool, into archives of format 1."""

    def spooled(self, settings: ReceiverSettings) -> list[SpooledArchive]:
        """Return every archive of the system in the spool, oldest first, in whatever state."""

    def to_load(self, settings: ReceiverSettings, now: datetime) -> list[SpooledArchive]:
        """Return the archives for which a load should run, oldest first."""

    def take_over(self, context: IntakeContext, kinds: Collection[ArchiveKind]) -> TakenOver:
        """Convert every archive that waits or is parked; park or quarantine the others.

        Raises:
            SpoolAccessError: the spool's disk is full, or the operating system refuses.
            DatabaseUnreachableError: the receiver's database is not there; nothing was moved.
        """


def check_old_system(name: str, sender: SenderIdentity | None, *, accepted: bool) -> None:
    """Refuse an archive of the old system where it has no place any more, or not yet.

    Args:
        name: of the archive's file, before or after it was converted.
        sender: whose archives the receiver loads; None before the first.
        accepted: whether the operator accepts such archives.

    Raises:
        ForeignArchiveError: an archive of the new sender was applied, which took over.
        ArchiveParkedError: the operator does not accept them.
    """
    if sender is not None and sender.system_identifier != OLD_SYSTEM.system_identifier:
        raise ForeignArchiveError(
            f"{name} comes from the old system, and this receiver follows the new sender",
            remedy="stop the old sender's jobs",
        )
    if not accepted:
        raise ArchiveParkedError(
            f"{name} comes from the old system, and AR_SYNC_OLD_ARCHIVES does not accept it",
            remedy="set AR_SYNC_OLD_ARCHIVES=accept to load it, or remove it",
        )
