"""An operator's word for an archive that the delete guard keeps from loading."""

from __future__ import annotations

from collections.abc import Sequence

from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger import allow, ensure_ledger
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    SpoolState,
    list_parked,
    list_waiting,
    unpark,
)
from ar_sync_pipeline.sync.errors import NoArchiveError, NotGuardedError
from ar_sync_pipeline.sync.load.delete_guard import held_by_guard


def allow_archive(
    settings: ReceiverSettings, filename: str, *, allowed_by: str, clock: Clock
) -> str:
    """Let an archive through the delete guard, and let it wait again; the sensor then loads it.

    The ledger records who allowed it and when, and which bytes: another file that takes the
    archive's name is not allowed. Everything else about the archive is still checked.

    Args:
        filename: of the archive, with or without the prefix of waiting ones.

    Returns:
        The archive's name.

    Raises:
        NoArchiveError: no such archive waits or is parked.
        NotGuardedError: it is parked for another reason, which an approval does not remove.
        CorruptArchiveError: its manifest cannot be read.
    """
    name = ArchiveName.parse(filename)
    spool = settings.remote_bkp_fldr
    found = [a for a in (*list_parked(spool), *list_waiting(spool)) if a.name == name]
    if name is None or not found:
        raise NoArchiveError(
            f"no archive {filename} waits or is parked in {spool}",
            remedy="look into its folders parked/, complete/ and partial/ for the name",
        )
    _refuse_others(found)
    # Of a waiting and a parked file of one name, the waiting one is loaded.
    with open_archive(found[-1].path) as reader:
        manifest_sha256 = reader.manifest_sha256
    url = settings.receiver_database_url.get_secret_value()
    with connect(url, application="allow") as connection:
        ensure_ledger(connection)
        allow(connection, name.applied, manifest_sha256, allowed_by, clock())
    for archive in found:
        unpark(spool, archive)
    return name.applied


def _refuse_others(found: Sequence[SpooledArchive]) -> None:
    for archive in found:
        reason = read_reason(archive.path)
        if archive.state is SpoolState.PARKED and reason and not held_by_guard(archive):
            raise NotGuardedError(
                f"{archive.name.applied} is not kept by the delete guard ({reason.reason})",
                remedy=reason.remedy,
            )
