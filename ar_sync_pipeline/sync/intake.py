"""Interface of the intake: it converts archives of another system for a receiver."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ar_sync_pipeline.archive.converted import OLD_SYSTEM
from ar_sync_pipeline.archive.manifest import SenderIdentity
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.states import SpooledArchive
from ar_sync_pipeline.sync.errors import ArchiveParkedError, ReplacedSenderError
from ar_sync_pipeline.sync.rejection import Rejection


@dataclass
class TakenOver:
    """Result of an intake for the archives that it examined."""

    rejected: list[Rejection] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class IntakeContext:
    """The receiver that archives are converted for.

    Attributes:
        tables: Tables of the receiver by label.
        sender: Sender whose archives the receiver loads; None before the first.
        has_content_of: Returns whether applied archives have brought what an archive of a name
            holds.
    """

    settings: ReceiverSettings
    catalog: Catalog
    tables: dict[str, TableFacts]
    sender: SenderIdentity | None
    ledger: Sequence[AppliedArchive]
    has_content_of: Callable[[ArchiveName], bool]
    clock: Clock


class Intake(Protocol):
    """Converts archives of another system in the spool into archives of format 1."""

    def spooled(self, settings: ReceiverSettings) -> list[SpooledArchive]:
        """Return every archive of the system in the spool, oldest first, in whatever state."""

    def has_name_of_one(self, filename: str) -> bool:
        """Return whether a file name is that of an archive of the system, in any state."""

    def to_load(self, settings: ReceiverSettings, now: datetime) -> list[SpooledArchive]:
        """Return the archives for which a load should run, oldest first."""

    def take_over(self, context: IntakeContext, kinds: Collection[ArchiveKind]) -> TakenOver:
        """Convert every waiting or parked archive; park or quarantine the others.

        A parked one whose content others have brought is recorded as superseded.

        Raises:
            SpoolAccessError: The spool's disk is full, or the operating system refuses.
            DatabaseUnreachableError: The receiver's database cannot be reached; nothing was moved.
        """


def check_old_system(name: str, sender: SenderIdentity | None, *, accepted: bool) -> None:
    """Refuse an archive of the old system if it is not accepted, or not any more.

    Args:
        name: Name of the archive's file, before or after its conversion.
        sender: Sender whose archives the receiver loads; None before the first.
        accepted: Whether the settings accept such archives.

    Raises:
        ReplacedSenderError: An archive of the new sender was applied, which took over.
        ArchiveParkedError: The settings do not accept them.
    """
    if sender is not None and sender.system_identifier != OLD_SYSTEM.system_identifier:
        raise ReplacedSenderError(
            f"{name} comes from the old system, and this receiver follows the new sender",
            remedy="stop the old sender's jobs",
        )
    if not accepted:
        raise ArchiveParkedError(
            f"{name} comes from the old system, and AR_SYNC_OLD_ARCHIVES does not accept it",
            remedy="set AR_SYNC_OLD_ARCHIVES=accept to load it, or remove it",
        )
