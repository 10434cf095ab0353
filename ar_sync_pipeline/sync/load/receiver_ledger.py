"""The receiver's ledger, created only in a database that archives may be loaded into."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger_tables import claim_ledger, open_existing_ledger
from ar_sync_pipeline.postgres.own_database import REMEDY, read_own_database
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    list_applied,
    list_parked,
    list_waiting,
)
from ar_sync_pipeline.sync.errors import ReceiverIsSenderError


def open_ledger(connection: Connection, spool: Path, catalog: Catalog) -> None:
    """Open the ledger; create it if it is missing, unless the archives come from this database.

    With a ledger, only an archive that comes from this database is refused, when it is examined.

    Raises:
        ReceiverIsSenderError: There is no ledger, and the URL names the sender's database. Nothing
            was created in it, and no archive was moved.
        LedgerOfAnotherCatalogError: The ledger is another catalog's.
    """
    if not open_existing_ledger(connection):
        here, newest = read_own_database(connection), newest_in_spool(spool)
        if here is not None and newest and here.is_of(newest.sender, newest.watermark.timeline):
            raise ReceiverIsSenderError(here.problem, remedy=REMEDY)
    claim_ledger(connection, catalog.name)


def newest_in_spool(spool: Path, kind: ArchiveKind | None = None) -> Manifest | None:
    """Return the manifest of the sender's newest archive, in whatever state; None without one.

    Args:
        kind: Kind of the archive; None: any.
    """
    archives = [*list_parked(spool), *list_waiting(spool), *list_applied(spool)]
    return newest_manifest([one for one in archives if kind in {None, one.name.kind}])


def newest_manifest(archives: Sequence[SpooledArchive]) -> Manifest | None:
    """Return the manifest of the newest readable archive; loads report unreadable ones."""
    for archive in sorted(archives, key=lambda one: one.name.snapshot_at, reverse=True):
        try:
            with open_archive(archive.path) as reader:
                return reader.manifest
        except ArSyncError:
            continue
    return None
