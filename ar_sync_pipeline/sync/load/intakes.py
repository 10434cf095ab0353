"""Other systems whose archives a receiver takes over; to drop one, remove it from `INTAKES`."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.legacy.intake import OldArchiveIntake
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.states import SpooledArchive
from ar_sync_pipeline.sync.errors import NoArchiveError
from ar_sync_pipeline.sync.intake import Intake, IntakeContext, TakenOver

INTAKES: tuple[Intake, ...] = (OldArchiveIntake(),)


def other_archives(settings: ReceiverSettings) -> list[SpooledArchive]:
    """Return the archives of other systems in the spool, in whatever state."""
    return [archive for intake in INTAKES for archive in intake.spooled(settings)]


def other_archives_to_load(settings: ReceiverSettings, now: datetime) -> list[SpooledArchive]:
    """Return the archives of other systems for which a load should run."""
    return [archive for intake in INTAKES for archive in intake.to_load(settings, now)]


def refuse_other_archive(filename: str) -> None:
    """Refuse the name of an archive of another system, which no command can read.

    Raises:
        NoArchiveError: It is one.
    """
    if any(intake.has_name_of_one(filename) for intake in INTAKES):
        raise NoArchiveError(
            f"{filename} is an archive of the old system, which a load converts",
            remedy="name the converted archive, backup_<kind>_<instant>.tar; why the old one is"
            " parked or quarantined is in the file beside it",
        )


def take_over(context: IntakeContext, kinds: Collection[ArchiveKind]) -> TakenOver:
    """Convert the archives of other systems; see `Intake.take_over`."""
    taken = TakenOver()
    for intake in INTAKES:
        result = intake.take_over(context, kinds)
        taken.rejected += result.rejected
        taken.warnings += result.warnings
    return taken
