"""Rows that the receiver has before any archive was applied: the first complete replaces them."""

from __future__ import annotations

from collections.abc import Iterator

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger_tables import nothing_applied
from ar_sync_pipeline.sync.load.unsent_tables import hidden_tables, tables_with_rows
from ar_sync_pipeline.visible_text import names_in_words


def rows_before_first_load(connection: Connection, catalog: Catalog) -> Iterator[Finding]:
    """Yield a warning about replicated tables with rows although nothing was ever applied."""
    if not nothing_applied(connection):
        return
    tables = list(tables_with_rows(connection, catalog, catalog.replicates))
    if tables:
        yield Finding(
            Level.WARNING,
            f"no archive was applied yet, and the receiver has rows in {names_in_words(tables)}:"
            " the first complete makes these tables equal to the sender's, and changes or deletes"
            " rows that differ",
            "a copy of the sender's rows needs nothing. Where they are the receiver's own, such as"
            " its users, leave the table out at both sides: remove its section and its name from"
            " `tables`, or, where a pattern matches it, add it to `exclude`",
        )


def hidden_before_first_load(connection: Connection, catalog: Catalog) -> Iterator[Finding]:
    """Yield a warning about replicated tables of which this role cannot see whether they have rows.

    It is for a check with any role, which does not report missing rights.
    """
    if nothing_applied(connection) and (hidden := hidden_tables(connection, catalog)):
        yield Finding(
            Level.WARNING,
            f"no archive was applied yet, and this role may not read {names_in_words(hidden)}:"
            " whether the receiver has rows there is not known, and the first complete would change"
            " or delete those that differ",
            "check the catalog once with a role that may read these tables",
        )
