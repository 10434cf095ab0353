"""Rows that the receiver has before any archive was applied: the first complete replaces them."""

from __future__ import annotations

from collections.abc import Iterator

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger_tables import may_read_ledger
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.sync.load.unsent_tables import tables_with_rows
from ar_sync_pipeline.visible_text import names_in_words

_ANY_APPLIED = "SELECT EXISTS (SELECT FROM ar_sync.applied_archive)"


def rows_before_first_load(connection: Connection, catalog: Catalog) -> Iterator[Finding]:
    """Yield a warning about replicated tables with rows although nothing was ever applied."""
    readable = may_read_ledger(connection, "applied_archive")
    if readable is not None and (not readable or scalar(connection, _ANY_APPLIED)):
        return
    tables = list(tables_with_rows(connection, catalog, catalog.replicates))
    if tables:
        yield Finding(
            Level.WARNING,
            f"no archive was applied yet, and the receiver has rows in {names_in_words(tables)}:"
            " the first complete makes these tables equal to the sender's, and changes or deletes"
            " rows that differ",
            "nothing is to be done for a copy of the sender's rows; for the receiver's own, such as"
            " its users, leave the table out of the catalog before the first complete: remove its"
            " name from `tables` and its section, or, where a pattern matches it, add it to"
            " `exclude`; at both sides",
        )
