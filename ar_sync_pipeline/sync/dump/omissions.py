"""What a dump leaves out, for the log of its run; the dump itself reports what it refuses."""

from __future__ import annotations

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.findings import Finding, Level
from ar_sync_pipeline.postgres.omissions import find_omissions
from ar_sync_pipeline.postgres.schema_facts import read_tables


def omissions_of_dump(url: str, catalog: Catalog) -> tuple[Finding, ...]:
    """Return what the catalog seems to replicate and a dump leaves out.

    Raises:
        DatabaseUnreachableError: The database cannot be reached.
        DatabaseRefusedError: It refuses the connection.
    """
    with connect(url, application="check") as connection:
        tables = read_tables(connection, catalog.schema_name, catalog.replicates)
        findings = find_omissions(connection, catalog, tables)
    return tuple(found for found in findings if found.level is Level.WARNING)
