"""Identity of the rows of a table, and how a temporary table stores it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.sql_parts import add_primary_key, column_list
from ar_sync_pipeline.postgres.table_facts import TableFacts

_PREFIX = "ar_sync key "


@dataclass(frozen=True)
class RowIdentity:
    """The columns of a key, or the physical place of a row if a table has no key.

    A place is valid until the row is next updated, which the merge detects by counting rows.
    Temporary tables store identities under their own names (``ar_sync key 1``, ...), so that they
    cannot collide with a column of the application.

    Attributes:
        columns: Columns of the table.
        operators: Equality operator of each column, as SQL.
        prefix: Prefix of the names in temporary tables, which no column of the table has.
    """

    columns: tuple[str, ...]
    operators: tuple[str, ...]
    prefix: str = _PREFIX

    @property
    def by_place(self) -> bool:
        """Whether rows are identified by their place."""
        return self.columns == PLACE.columns

    @property
    def stored(self) -> tuple[str, ...]:
        """Column names in a temporary table."""
        return tuple(f"{self.prefix}{number}" for number in range(1, len(self.columns) + 1))

    def values(self, alias: str) -> sql.Composed:
        """Return the identity of the table's row ``alias``, selected under the stored names."""
        return sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(sql.Identifier(alias, column), sql.Identifier(name))
            for column, name in zip(self.columns, self.stored, strict=True)
        )

    def stored_list(self, alias: str) -> sql.Composed:
        """Return the stored names, separated by commas."""
        return column_list(self.stored, alias)

    def matches(self, row: str, stored: str) -> sql.Composed:
        """Return the condition that ``stored`` is the identity of the table's row ``row``."""
        return self._equal(row, self.columns, stored, self.stored)

    def same(self, left: str, right: str) -> sql.Composed:
        """Return the condition that two stored identities are equal."""
        return self._equal(left, self.stored, right, self.stored)

    def is_in(self, row: str, relation: sql.Composable) -> sql.Composed:
        """Return the condition that ``relation`` has the identity of the table's row ``row``."""
        return sql.SQL("EXISTS (SELECT FROM {} AS w WHERE {})").format(
            relation, self.matches(row, "w")
        )

    def is_stored_in(self, stored: str, relation: sql.Composable) -> sql.Composed:
        """Return the condition that ``relation`` has the stored identity ``stored``, too."""
        return sql.SQL("EXISTS (SELECT FROM {} AS w WHERE {})").format(
            relation, self.same(stored, "w")
        )

    def _equal(
        self, left: str, left_names: Iterable[str], right: str, right_names: Iterable[str]
    ) -> sql.Composed:
        return sql.SQL(" AND ").join(
            sql.SQL("{} {} {}").format(
                sql.Identifier(left, a), sql.SQL(operator), sql.Identifier(right, b)
            )
            for a, b, operator in zip(left_names, right_names, self.operators, strict=True)
        )

    def create(self, connection: Connection, name: str, rows: sql.Composable) -> sql.Identifier:
        """Create an empty temporary table of identities, dropped at the end of the transaction.

        Args:
            name: Name of the table, unique within the transaction.
            rows: Table whose identities it will contain.
        """
        query = sql.SQL("SELECT {} FROM {} AS t LIMIT 0").format(self.values("t"), rows)
        return self.fill(connection, name, query)

    def fill(self, connection: Connection, name: str, query: sql.Composable) -> sql.Identifier:
        """Create a temporary table of identities, and further columns, from a query.

        Args:
            name: Name of the table, unique within the transaction.
            query: Query of distinct identities under the stored names.
        """
        relation = sql.Identifier("pg_temp", name)
        connection.execute(
            sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS {}").format(relation, query)
        )
        add_primary_key(connection, relation, self.stored)
        return relation


PLACE = RowIdentity(("tableoid", "ctid"), ("OPERATOR(pg_catalog.=)", "OPERATOR(pg_catalog.=)"))
"""Identity by ``tableoid`` and ``ctid``, for tables without a key."""


def identity_of(facts: TableFacts) -> RowIdentity:
    """Return the identity of a table's rows, by its key or by place."""
    identity = RowIdentity(facts.key, facts.key_operators) if facts.key else PLACE
    prefix = identity.prefix
    while any(column.name.startswith(prefix) for column in facts.columns):
        prefix = f"_{prefix}"
    return replace(identity, prefix=prefix)
