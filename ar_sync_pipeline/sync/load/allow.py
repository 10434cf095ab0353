"""An operator's approval of an archive that the delete guard does not let load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import ArSyncError, TransientError
from ar_sync_pipeline.postgres.approved_archives import allow, read_allowed
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger_tables import ensure_ledger, open_existing_ledger
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    SpoolState,
    list_applied,
    list_parked,
    list_waiting,
    unpark,
)
from ar_sync_pipeline.sync.errors import DeleteGuardError, NoArchiveError, NotGuardedError
from ar_sync_pipeline.sync.load.intakes import refuse_other_archive
from ar_sync_pipeline.sync.rejection import Rejection


def allow_archive(
    settings: ReceiverSettings, filename: str, *, allowed_by: str, clock: Clock
) -> str:
    """Approve an archive for the delete guard and unpark it; the sensor then loads it.

    The ledger records who approved it and when, and the bytes of its manifest: another file with
    the archive's name is not approved. Everything else about the archive is still checked.

    Args:
        filename: Name of the archive, with or without the prefix of waiting ones.

    Returns:
        Name of the archive.

    Raises:
        NoArchiveError: No such archive waits or is parked.
        NotGuardedError: It is parked for another reason, which an approval does not remove.
        CorruptArchiveError: Its manifest cannot be read.
    """
    refuse_other_archive(filename)
    name = ArchiveName.parse(filename)
    spool = settings.remote_bkp_fldr
    found = [a for a in (*list_parked(spool), *list_waiting(spool)) if a.name == name]
    if any(a.name == name for a in list_applied(spool)) and not found:
        raise NoArchiveError(f"{filename} is applied", remedy="nothing is to be allowed")
    if name is None or not found:
        raise NoArchiveError(
            f"no archive {filename} waits or is parked in {spool}",
            remedy="look into its folders parked/, complete/ and partial/ for the name",
        )
    _refuse_others(found)
    # If a waiting and a parked file have the same name, the guard has read the parked one.
    with open_archive(found[0].path) as reader:
        manifest_sha256 = reader.manifest_sha256
    url = settings.database_url
    with connect(url, application="allow") as connection:
        ensure_ledger(connection)
        allow(connection, name.applied, manifest_sha256, allowed_by, clock())
    for archive in found:
        unpark(spool, archive)
    return name.applied


def approved_but_parked(
    settings: ReceiverSettings, held: Sequence[SpooledArchive]
) -> list[SpooledArchive]:
    """Return the approved ones of archives that the delete guard parked; none if it is unknown.

    Their approval was interrupted before they were unparked, which the next load does.
    """
    if not held:
        return []
    try:
        with connect(settings.database_url, application="approvals") as connection:
            allowed = read_allowed(connection) if open_existing_ledger(connection) else {}
    except TransientError:
        return []
    return [archive for archive in held if _is_approved(archive, allowed)]


def _is_approved(archive: SpooledArchive, allowed: Mapping[str, str]) -> bool:
    approved = allowed.get(archive.name.applied)
    if approved is None:
        return False
    try:
        with open_archive(archive.path) as reader:
            return reader.manifest_sha256 == approved
    except ArSyncError:
        return False


def _refuse_others(found: Sequence[SpooledArchive]) -> None:
    for archive in found:
        if archive.state is not SpoolState.PARKED:
            continue
        rejection = Rejection.read(archive)
        if rejection.code not in ("", DeleteGuardError.code):
            raise NotGuardedError(
                f"{archive.name.applied} is not kept by the delete guard ({rejection.problem})",
                remedy=rejection.remedy,
            )
