"""Rows that archives brought into tables which the catalog no longer replicates."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from ar_sync_pipeline.catalog.edits import replicate
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger_tables import may_read_ledger
from ar_sync_pipeline.sync.load.unsent_tables import tables_with_rows
from ar_sync_pipeline.visible_text import visible_name

_REPLICATED_ONCE = "SELECT table_name FROM ar_sync.table_definition ORDER BY table_name"


def rows_no_longer_replicated(connection: Connection, catalog: Catalog) -> Iterator[Finding]:
    """Yield a finding for each table with rows that was loaded once and left the catalog.

    A table that `receiver_tables` names is the receiver's own now.
    """
    if not may_read_ledger(connection, "table_definition"):
        return
    once = {name for (name,) in connection.execute(_REPLICATED_ONCE).fetchall()}
    left = {n for n in once if not catalog.replicates(n) and not catalog.is_receiver_only(n)}
    for label in tables_with_rows(connection, catalog, left.__contains__):
        statement = sql.SQL("DELETE FROM {}").format(sql.Identifier(*catalog.locate(label)))
        text = statement.as_string(connection)
        name = visible_name(label)
        yield Finding(
            Level.WARNING,
            f"table {name} is not in the catalog any more, and the receiver still has rows that"
            " archives brought",
            f"{text}, or drop the table; if the rows are wanted as they are, add it to"
            f" `receiver_tables`; or {replicate(catalog, label)}",
        )
