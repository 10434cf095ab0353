"""A table as it travels: the columns that both sides share, in manifest terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Column, SequenceValue
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.schema_facts import TableFacts


@dataclass(frozen=True)
class ShippedTable:
    """What of a table goes into an archive.

    Attributes:
        columns: without generated columns and those that the catalog gives to the receiver.
    """

    schema: str
    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]

    @property
    def relation(self) -> sql.Identifier:
        """The table, quoted and qualified."""
        return sql.Identifier(self.schema, self.name)

    def column_list(self, alias: str) -> sql.Composed:
        """The columns of an alias, comma separated, in the order of `columns`."""
        return column_list((column.name for column in self.columns), alias)


def ship(schema: str, facts: TableFacts, receiver_columns: Sequence[str]) -> ShippedTable:
    """Decide which columns of a table travel."""
    columns = tuple(
        Column(name=column.name, type=column.type, nullable=column.nullable)
        for column in facts.columns
        if not column.generated and column.name not in receiver_columns
    )
    return ShippedTable(schema, facts.name, columns, facts.primary_key)


def column_list(names: Iterable[str], alias: str | None = None) -> sql.Composed:
    """Quoted column names, comma separated, each behind ``alias`` if one is given."""
    return sql.SQL(", ").join(
        sql.Identifier(alias, name) if alias else sql.Identifier(name) for name in names
    )


def read_sequences(connection: Connection, facts: TableFacts) -> tuple[SequenceValue, ...]:
    """The last values of the sequences behind a table's columns; unused ones are left out."""
    values = []
    for column in facts.columns:
        if column.sequence is None:
            continue
        query = sql.SQL("SELECT last_value FROM {} WHERE is_called").format(
            sql.Identifier(*column.sequence)
        )
        row = connection.execute(query).fetchone()
        if row is not None:
            values.append(SequenceValue(column=column.name, last_value=row[0]))
    return tuple(values)
