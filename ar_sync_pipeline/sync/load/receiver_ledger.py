"""The receiver's ledger, created only in a database that archives may be loaded into."""

from __future__ import annotations

from datetime import datetime

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger_tables import claim_ledger, open_existing_ledger
from ar_sync_pipeline.postgres.own_database import REMEDY, read_own_database
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.sync.errors import ReceiverIsSenderError
from ar_sync_pipeline.sync.load.newest_archive import newest_in_spool
from ar_sync_pipeline.sync.load.one_receiver import check_receiver_of_spool


def open_ledger(
    connection: Connection, settings: ReceiverSettings, catalog: Catalog, now: datetime
) -> None:
    """Open the ledger; create it if it is missing, unless the archives come from this database.

    With a ledger, only an archive that comes from this database is refused, when it is examined.

    Raises:
        ReceiverIsSenderError: There is no ledger, and the URL names the sender's database. Nothing
            was created in it, and no archive was moved.
        SpoolOfAnotherError: Another receiver loads from the spool. Nothing was created, either.
        LedgerOfAnotherCatalogError: The ledger is another catalog's.
    """
    if not open_existing_ledger(connection):
        here, newest = read_own_database(connection), newest_in_spool(settings.remote_bkp_fldr)
        if here is not None and newest and here.is_of(newest.sender, newest.watermark.timeline):
            raise ReceiverIsSenderError(here.problem, remedy=REMEDY)
    check_receiver_of_spool(settings, connection, now)
    claim_ledger(connection, catalog.name)
