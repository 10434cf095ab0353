"""Check of the sender's database before a dump: what would fail, and what needs a warning."""

from __future__ import annotations

from dataclasses import dataclass

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.export.locks import limit_lock_waits
from ar_sync_pipeline.export.source_tables import references_out, source_problems
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.schema_facts import read_tables


@dataclass(frozen=True)
class SourceCheck:
    """Result of the check.

    Attributes:
        problems: Errors that would make a dump fail, with problem and remedy.
        warnings: Warnings, one sentence each.
    """

    problems: tuple[ArSyncError, ...]
    warnings: tuple[str, ...]


def check_source(url: str, catalog: Catalog) -> SourceCheck:
    """Describe the replicated tables and return everything that a dump would refuse, at once.

    A database that cannot be reached is a problem of the result, not an exception.
    """
    try:
        with connect(url, application="check") as connection:
            limit_lock_waits(connection)
            tables = read_tables(connection, catalog.schema_name, catalog.replicates)
            problems = tuple(source_problems(connection, catalog, tables))
    except ArSyncError as error:
        return SourceCheck((error,), ())
    return SourceCheck(problems, references_out(catalog, tables))
