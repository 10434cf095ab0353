"""The preflight: whether a side's database is as its catalog says, found before a run finds it."""

from __future__ import annotations

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.export.source_tables import source_problems
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.findings import Finding, Level, as_error
from ar_sync_pipeline.postgres.omissions import find_omissions
from ar_sync_pipeline.postgres.receiver_checks import check_receiver_tables
from ar_sync_pipeline.postgres.rights import check_rights
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.sender_checks import check_sender_tables
from ar_sync_pipeline.shipped_files import shipped

_SENDER_ROLE = shipped("deploy/sql/sender_role.sql")
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
            lacking = list(check_rights(connection, tables, ["SELECT"], _SENDER_ROLE))
            findings = list(lacking)
            if not lacking:  # a role without these rights cannot examine the rest
                findings += map(as_error, source_problems(connection, catalog, tables))
            findings += check_sender_tables(connection, catalog, tables)
            omissions = find_omissions(connection, catalog, tables)
            # Without rights missing, those that are errors are among the problems above.
            findings += (one for one in omissions if lacking or one.level is not Level.ERROR)
    except ArSyncError as error:
        return (as_error(error),)
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
        return (as_error(error),)
    return _sorted(findings)


def _sorted(findings: list[Finding]) -> tuple[Finding, ...]:
    """What matters most comes first; otherwise in the order of the tables."""
    return tuple(sorted(findings, key=lambda found: _ORDER.index(found.level)))
