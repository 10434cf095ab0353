"""Moving the receiver's sequences past the sender's, owned by their column or not."""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.archive.manifest import TableManifest
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts


def advance_sequences(connection: Connection, manifest: TableManifest, facts: TableFacts) -> None:
    """Advance each sequence to the sender's last value; never back (it is not transactional)."""
    for value in manifest.sequences:
        column = facts.column(value.column)
        if column is None or column.sequence is None:
            continue
        name = sql.Identifier(*column.sequence)
        connection.execute(
            sql.SQL(
                "SELECT setval({name}, {last}) FROM {sequence}"
                " WHERE last_value < {last} OR (last_value = {last} AND NOT is_called)"
            ).format(
                name=sql.Literal(name.as_string(connection)),
                last=sql.Literal(value.last_value),
                sequence=name,
            )
        )
