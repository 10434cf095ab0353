"""A table as it is exported: the columns that both sides share, in manifest terms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Column, SequenceValue
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.sql_parts import equal
from ar_sync_pipeline.postgres.table_facts import TableFacts

Expression = Callable[[sql.Composable], sql.Composed]
"""Makes an expression of SQL out of a column's name."""


@dataclass(frozen=True)
class ExportedTable:
    """The part of a table that is exported.

    Attributes:
        rows: Rows of the table without inherited ones, as SQL.
        columns: Columns without generated ones and without those that are not replicated.
        generated: The generated ones, of which no values are sent, likewise.
        primary_key: Columns of the key; empty if there is none.
        key_operators: Equality operator of each key column, as SQL.
        masks: Expression to read instead of each masked column.
        costly: Masked columns for which looking up an equal value is cheaper than the expression.
        size_bytes: Size of the table, with the columns that are not exported, in bytes.
    """

    name: str
    rows: sql.Composable
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    key_operators: tuple[str, ...] = ()
    masks: Mapping[str, Expression] = field(default_factory=dict)
    costly: frozenset[str] = frozenset()
    size_bytes: int = 0
    generated: tuple[str, ...] = ()

    def same_row(self, left: str, right: str) -> sql.Composed:
        """Return the condition that two aliases mean the same row."""
        return equal(left, right, self.primary_key, self.key_operators)

    def source(self, alias: str) -> sql.Composed:
        """Return the rows as ``alias``, joined to what `values` and `column_list` read.

        PostgreSQL remembers the result of a lateral subquery for equal values if many are equal
        (Memoize, from version 14 on). OFFSET keeps it a subquery.
        """
        one = sql.SQL(" CROSS JOIN LATERAL (SELECT {} OFFSET 0) AS {} (value)")
        masked = self.masked(alias)
        joins = (
            one.format(masked[name], _lateral(alias, number))
            for number, name in enumerate(sorted(self.costly))
        )
        return sql.SQL("{} AS {}{}").format(
            self.rows, sql.Identifier(alias), sql.Composed([*joins])
        )

    def values(self, alias: str) -> dict[str, sql.Composable]:
        """Return the expression to export instead of each masked column of a `source`."""
        costly = {
            name: sql.SQL("{}.value").format(_lateral(alias, number))
            for number, name in enumerate(sorted(self.costly))
        }
        return self.masked(alias) | costly

    def column_list(self, alias: str) -> sql.Composed:
        """Return what is exported of a `source`, comma separated, in order of `columns`."""
        values = self.values(alias)
        return sql.SQL(", ").join(
            values.get(column.name, sql.Identifier(alias, column.name)) for column in self.columns
        )

    def masked(self, alias: str) -> dict[str, sql.Composable]:
        """Return the expression to export instead of each masked column of an alias."""
        return {name: mask(sql.Identifier(alias, name)) for name, mask in self.masks.items()}


def export_facts(
    facts: TableFacts,
    withheld: Collection[str],
    masks: Mapping[str, Expression] | None = None,
    costly: Collection[str] = (),
) -> ExportedTable:
    """Return the exported table: decide which columns are replicated.

    Args:
        withheld: Columns that are not replicated.
        masks: Expression to read instead of the column, by column.
        costly: Columns of `masks` that are expensive to compute.
    """
    columns = tuple(
        Column(name=column.name, type=column.type, nullable=column.nullable)
        for column in facts.replicated(withheld)
    )
    return ExportedTable(
        facts.name,
        facts.rows,
        columns,
        facts.key,
        facts.key_operators,
        masks or {},
        frozenset(costly) & {column.name for column in columns},
        facts.size_bytes,
        tuple(c.name for c in facts.columns if c.generated and c.name not in withheld),
    )


def read_sequences(
    connection: Connection, facts: TableFacts, withheld: Collection[str]
) -> tuple[SequenceValue, ...]:
    """Return the last values of the sequences of replicated columns, without unused ones."""
    values = []
    for column in facts.replicated(withheld):
        if column.sequence is None:
            continue
        query = sql.SQL("SELECT last_value FROM {} WHERE is_called").format(
            sql.Identifier(*column.sequence)
        )
        row = connection.execute(query).fetchone()
        if row is not None:
            values.append(SequenceValue(column=column.name, last_value=row[0]))
    return tuple(values)


def _lateral(alias: str, number: int) -> sql.Identifier:
    return sql.Identifier(f"{alias}_masked_{number}")
