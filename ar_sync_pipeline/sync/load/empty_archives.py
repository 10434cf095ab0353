"""Load of archives of windows in which nothing changed, cheap enough for the tick of a sensor.

Such an archive is admitted and applied like any other: it is read to its last byte, its signature,
identity and schema are checked, and the ledger records it. Only the process of a run is saved,
which takes more time to start than the load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger import AppliedArchive, read_ledger
from ar_sync_pipeline.postgres.ledger_tables import open_existing_ledger
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.states import SpooledArchive, list_applied, list_parked, list_waiting
from ar_sync_pipeline.sync.load.admit import Admission, admit_archives
from ar_sync_pipeline.sync.load.applied_chain import chain_in
from ar_sync_pipeline.sync.load.delete_guard import held_by_guard
from ar_sync_pipeline.sync.load.intakes import other_archives_to_load
from ar_sync_pipeline.sync.load.load_archives import LoadReport, load_archives
from ar_sync_pipeline.sync.load.load_plan import unknown_to
from ar_sync_pipeline.sync.load.newest_archive import not_superseded

# A tick of a sensor has a minute for all of them.
_MOST = 10
_LARGEST_BYTES = 256 * 1024


@dataclass(frozen=True)
class EmptyLoad:
    """Result of a load of empty archives."""

    admission: Admission
    report: LoadReport


def load_empty_archives(
    settings: ReceiverSettings, catalog: Catalog, clock: Clock
) -> EmptyLoad | None:
    """Load what waits if it only extends the data's time range; None: it needs a usual load.

    It needs one if a waiting archive has a row or a media file, is older than what is applied, or
    is a complete, if the receiver has no complete yet, and if anything else is to be examined.

    Raises:
        ArSyncError: The load failed; the archives still wait, or were rejected.
    """
    waiting = list_waiting(settings.remote_bkp_fldr)
    if not _may_be_loaded(settings, waiting, clock):
        return None
    url = settings.database_url
    with connect(url, application="empty archives") as connection:
        ledger = read_ledger(connection) if open_existing_ledger(connection) else []
    if not _extend(ledger, waiting, list_applied(settings.remote_bkp_fldr)):
        return None
    # An archive that arrives meanwhile has not been checked to be empty.
    names = [archive.name.applied for archive in waiting]
    admission = admit_archives(settings, catalog, clock, [ArchiveKind.PARTIAL], names)
    return EmptyLoad(admission, load_archives(settings, catalog, admission.names, clock))


def _may_be_loaded(
    settings: ReceiverSettings, waiting: Sequence[SpooledArchive], clock: Clock
) -> bool:
    parked = [a for a in list_parked(settings.remote_bkp_fldr) if not held_by_guard(a)]
    return (
        0 < len(waiting) <= _MOST
        and all(map(_is_empty, waiting))
        and not parked
        and not other_archives_to_load(settings, clock())
    )


def _is_empty(archive: SpooledArchive) -> bool:
    """Return whether a partial lists no row and no media file; what is wrong with it, a run says.

    A table that is carried whole and has no row may be a deletion of all rows. The manifest is not
    verified yet; the admission verifies it.
    """
    if archive.name.kind is not ArchiveKind.PARTIAL or archive.size_bytes > _LARGEST_BYTES:
        return False
    try:
        with open_archive(archive.path) as reader:
            manifest = reader.manifest
            empties = any(table.whole for table in manifest.tables)
            return manifest.row_count == 0 and not manifest.media_count and not empties
    except (ArSyncError, OSError):
        return False


def _extend(
    ledger: Sequence[AppliedArchive],
    waiting: Sequence[SpooledArchive],
    applied: Sequence[SpooledArchive],
) -> bool:
    """Return whether all waiting archives are later than everything that was applied."""
    known = {line.name for line in ledger}
    if chain_in(ledger) is None or unknown_to(known, applied):
        return False
    newest = max(line.snapshot_at for line in not_superseded(ledger))
    return all(a.name.snapshot_at > newest and a.name.applied not in known for a in waiting)
