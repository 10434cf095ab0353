"""The receiver's ledger, created only in a database that archives may be loaded into."""

from __future__ import annotations

from pathlib import Path

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger_tables import claim_ledger, open_existing_ledger
from ar_sync_pipeline.postgres.own_database import REMEDY, read_own_database
from ar_sync_pipeline.sync.errors import ReceiverIsSenderError
from ar_sync_pipeline.sync.load.newest_archive import newest_in_spool


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
