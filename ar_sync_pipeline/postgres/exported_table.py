"""A table as it travels: the columns that both sides share, in manifest terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Column, SequenceValue
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts, equal


@dataclass(frozen=True)
class ExportedTable:
    """What of a table goes into an archive.

    Attributes:
        rows: the table's own rows, as SQL.
        columns: without generated columns and those that the catalog gives to the receiver.
        primary_key: the columns that tell its rows apart; empty if none do.
        key_operators: by key column, its equality operator, as SQL.
    """

    name: str
    rows: sql.Composable
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    key_operators: tuple[str, ...] = ()

    def same_row(self, left: str, right: str) -> sql.Composed:
        """The condition that two aliases mean the same row."""
        return equal(left, right, self.primary_key, self.key_operators)

    def column_list(self, alias: str) -> sql.Composed:
        """The columns of an alias, comma separated, in the order of `columns`."""
        return column_list((column.name for column in self.columns), alias)


def ship(facts: TableFacts, receiver_columns: Sequence[str]) -> ExportedTable:
    """Decide which columns of a table travel."""
    columns = tuple(
        Column(name=column.name, type=column.type, nullable=column.nullable)
        for column in facts.columns
        if not column.generated and column.name not in receiver_columns
    )
    return ExportedTable(facts.name, facts.rows, columns, facts.key, facts.key_operators)


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
