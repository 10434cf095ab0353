"""The preflight: whether a side's database is as its catalog says, found before a run finds it."""

from __future__ import annotations

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.findings import Finding, Level
from ar_sync_pipeline.postgres.omissions import find_omissions
from ar_sync_pipeline.postgres.receiver_checks import check_receiver_tables
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.sender_checks import check_sender_tables

_ORDER = (Level.ERROR, Level.WARNING, Level.NOTE)


def check_sender(url: str, catalog: Catalog) -> tuple[Finding, ...]:
    """Compare the sender's database with the catalog; nothing is written, no row is read.

    A database that cannot be used is a finding, not an error.

    Args:
        url: of the sender's database, with the role that dumps.
    """
    try:
        with connect(url, application="check") as connection:
            tables = read_tables(connection, catalog.schema_name, catalog.travels)
            findings = check_sender_tables(connection, catalog, tables)
            findings += find_omissions(connection, catalog, tables)
    except ArSyncError as error:
        return (_unusable(error),)
    return _sorted(findings)


def check_receiver(url: str, catalog: Catalog) -> tuple[Finding, ...]:
    """Compare the receiver's database with the catalog; nothing is written, no row is read.

    A database that cannot be used is a finding, not an error.

    Args:
        url: of the receiver's database, with the role that loads.
    """
    try:
        with connect(url, application="check") as connection:
            tables = read_tables(connection, catalog.schema_name, catalog.travels)
            findings = check_receiver_tables(connection, catalog, tables)
    except ArSyncError as error:
        return (_unusable(error),)
    return _sorted(findings)


def _unusable(error: ArSyncError) -> Finding:
    return Finding(Level.ERROR, "the database", f"cannot be used ({error.problem})", error.remedy)


def _sorted(findings: list[Finding]) -> tuple[Finding, ...]:
    """What matters most comes first; otherwise in the order of the tables."""
    return tuple(sorted(findings, key=lambda found: _ORDER.index(found.level)))
