"""A table as it travels: the columns that both sides share, in manifest terms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Column, SequenceValue
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts, equal

Expression = Callable[[sql.Composable], sql.Composed]
"""Makes an expression of SQL out of a column's name."""


@dataclass(frozen=True)
class ExportedTable:
    """What of a table goes into an archive.

    Attributes:
        rows: the table's own rows, as SQL.
        columns: without generated columns and those that the catalog gives to the receiver.
        primary_key: the columns that tell its rows apart; empty if none do.
        key_operators: by key column, its equality operator, as SQL.
        masks: by masked column, what is read instead of it.
    """

    name: str
    rows: sql.Composable
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    key_operators: tuple[str, ...] = ()
    masks: Mapping[str, Expression] = field(default_factory=dict)

    def same_row(self, left: str, right: str) -> sql.Composed:
        """The condition that two aliases mean the same row."""
        return equal(left, right, self.primary_key, self.key_operators)

    def column_list(self, alias: str) -> sql.Composed:
        """The columns of an alias as they are sent, comma separated, in the order of `columns`."""
        values = self.masked(alias)
        return sql.SQL(", ").join(
            values.get(column.name, sql.Identifier(alias, column.name)) for column in self.columns
        )

    def masked(self, alias: str) -> dict[str, sql.Composable]:
        """By masked column of an alias, what is sent instead of it."""
        return {name: mask(sql.Identifier(alias, name)) for name, mask in self.masks.items()}


def ship(
    facts: TableFacts,
    withheld: Collection[str],
    masks: Mapping[str, Expression] | None = None,
) -> ExportedTable:
    """Decide which columns of a table are replicated.

    Args:
        withheld: columns that are not.
        masks: by column, what is read instead of it.
    """
    columns = tuple(
        Column(name=column.name, type=column.type, nullable=column.nullable)
        for column in facts.columns
        if not column.generated and column.name not in withheld
    )
    return ExportedTable(
        facts.name, facts.rows, columns, facts.key, facts.key_operators, masks or {}
    )


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
