"""Preview of a load of one archive: the load is executed and rolled back."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import ArSyncError, ParkedError
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.ledger_tables import load_lock
from ar_sync_pipeline.postgres.lock_table import read_lock_table
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.states import SpooledArchive, SpoolState
from ar_sync_pipeline.sync.blame import fault_of_archive
from ar_sync_pipeline.sync.errors import ArchiveRefusedError, NoArchiveError
from ar_sync_pipeline.sync.load.delete_guard import suspicious
from ar_sync_pipeline.sync.load.examine import Receiver, describe_receiver, examine
from ar_sync_pipeline.sync.load.intakes import refuse_other_archive
from ar_sync_pipeline.sync.load.load_outcome import LoadedArchive
from ar_sync_pipeline.sync.load.load_plan import ArchivesAtHand, plan_for
from ar_sync_pipeline.sync.load.load_session import LoadSession
from ar_sync_pipeline.sync.load.lock_budget import check_replay
from ar_sync_pipeline.sync.load.media_of_load import left_out_warning
from ar_sync_pipeline.sync.load.receiver_ledger import open_ledger
from ar_sync_pipeline.sync.load.stage_archives import MediaFolder


class Verdict(StrEnum):
    """Outcome for an archive."""

    APPLIED = "applied"
    ALREADY_APPLIED = "already applied"
    SUPERSEDED = "superseded"
    HELD_BACK = "held back"
    GUARDED = "kept by the delete guard"
    PARKED = "parked"
    QUARANTINED = "quarantined"

    @property
    def is_fine(self) -> bool:
        """Whether no action is needed."""
        return self in {Verdict.APPLIED, Verdict.ALREADY_APPLIED, Verdict.SUPERSEDED}


@dataclass(frozen=True)
class Preview:
    """What a load would do if this archive were the only waiting one.

    Attributes:
        reason: Why it would not be applied; empty otherwise.
        loaded: What each archive of the load does, this one first; those after it are applied
            again.
        warnings: What an operator should know although it would be applied.
    """

    name: str
    verdict: Verdict
    reason: str = ""
    loaded: tuple[LoadedArchive, ...] = ()
    warnings: tuple[str, ...] = ()


def preview_load(settings: ReceiverSettings, catalog: Catalog, path: Path, clock: Clock) -> Preview:
    """Read an archive to its last byte, stage and merge it, and roll everything back.

    Readers see nothing of it; media files and sequences are not changed. Loads wait meanwhile.

    Args:
        path: File of the archive, anywhere; its file name must be that of an archive.

    Raises:
        NoArchiveError: There is no file with an archive's name.
        LoadInProgressError: A load is running.
        DatabaseRefusedError: A right is missing, whatever the archive.
    """
    archive, url = _archive_at(path), settings.database_url
    with connect(url, application="plan") as connection:
        open_ledger(connection, settings.remote_bkp_fldr, catalog)
        try:
            with load_lock(connection):
                return _preview(connection, settings, catalog, archive, clock)
        except ArchiveRefusedError as refusal:
            return _refused(archive.name.applied, refusal.error)


def _preview(
    connection: Connection,
    settings: ReceiverSettings,
    catalog: Catalog,
    archive: SpooledArchive,
    clock: Clock,
) -> Preview:
    name = archive.name.applied
    receiver = describe_receiver(connection, settings, catalog, clock())
    sha256, warnings = _examined(archive, receiver, settings)
    at_hand = plan_for(settings.remote_bkp_fldr, [archive], receiver, {name: sha256})
    decided = _decided(at_hand)
    if decided is not None:
        return Preview(name, decided)
    check_replay(read_lock_table(connection), at_hand)
    here = MediaFolder(settings.receiver_media_fldr, settings.receiver_media_allow)
    outcome = LoadSession(connection, catalog, here, at_hand).preview()
    kept = suspicious(outcome.deletions, settings.delete_guard)
    if kept and receiver.allowed.get(name) != sha256:
        reason = f"{'; '.join(map(str, kept))}: run `ar-sync allow {name}` to let it through."
        return Preview(name, Verdict.GUARDED, reason, outcome.loaded, tuple(warnings))
    return Preview(name, Verdict.APPLIED, "", outcome.loaded, tuple(warnings))


def _examined(
    archive: SpooledArchive, receiver: Receiver, settings: ReceiverSettings
) -> tuple[str, list[str]]:
    """Read an archive to its last byte; return the hash of its manifest, and warnings.

    Raises:
        ArchiveRefusedError: A load would park or quarantine it. What would stop every archive, such
            as the database or the disk, is raised as it is, as by a load.
    """
    try:
        with open_archive(archive.path) as reader:
            warnings = examine(reader, receiver)
            reader.read_to_the_end()
            media = (entry.path for entry in reader.listed_media())
            if left_out := left_out_warning(media, settings.receiver_media_allow):
                warnings.append(left_out)
    except Exception as error:
        fault = fault_of_archive(error, None)
        if fault is None:
            raise
        raise ArchiveRefusedError(archive, fault) from error
    return reader.manifest_sha256, warnings


def _archive_at(path: Path) -> SpooledArchive:
    refuse_other_archive(path.name)
    name = ArchiveName.parse(path.name)
    try:
        facts = path.stat()
    except OSError as error:
        absent = isinstance(error, FileNotFoundError | NotADirectoryError)
        wrong = "does not exist" if absent else f"cannot be read ({error.strerror})"
        raise _no_archive(path, wrong) from error
    if name is None or not stat.S_ISREG(facts.st_mode):
        raise _no_archive(path, "is not the file of an archive")
    applied = path.name == name.applied
    state = SpoolState.APPLIED if applied else SpoolState.WAITING
    return SpooledArchive(name, path, state, facts.st_size)


def _no_archive(path: Path, wrong: str) -> NoArchiveError:
    return NoArchiveError(
        f"{path} {wrong}",
        remedy="name a file backup_<kind>_<instant>.tar of the spool, waiting or parked, that this"
        " account can read",
    )


def _decided(at_hand: ArchivesAtHand) -> Verdict | None:
    plan = at_hand.plan
    if plan.apply:
        return None
    if plan.held_back:
        return Verdict.HELD_BACK
    return Verdict.SUPERSEDED if plan.superseded else Verdict.ALREADY_APPLIED


def _refused(name: str, error: ArSyncError) -> Preview:
    parked = isinstance(error, ParkedError)
    return Preview(name, Verdict.PARKED if parked else Verdict.QUARANTINED, str(error))
