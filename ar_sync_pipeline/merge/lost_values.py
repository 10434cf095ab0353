"""Referenced values that rows are about to lose: by a change, or because the rows are deleted.

In replica mode PostgreSQL checks no foreign key and performs no referential action. The values from
before the merge show which rows refer to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from ar_sync_pipeline.merge.differences import CHANGE, REPLACE, TableDifference
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.rows_to_delete import RowsToDelete
from ar_sync_pipeline.merge.target_table import row_of
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import ForeignKey

_SAME_IF_EQUAL = re.compile(r"smallint|integer|bigint|uuid|boolean|date|timestamp.*|oid")


@dataclass(frozen=True)
class LostValues:
    """Temporary tables of lost values, one for each referenced table and its columns.

    Attributes:
        differences: Differences by table.
        prefix: Prefix of the names of temporary tables, unique within the transaction.
    """

    connection: Connection
    references: References
    differences: Mapping[str, TableDifference]
    to_delete: RowsToDelete
    prefix: str
    _relations: dict[tuple[str, tuple[str, ...]], sql.Identifier] = field(default_factory=dict)

    def remember(self) -> None:
        """Store the referenced values that rows are about to lose; call it before any write."""
        for table in {*self.differences, *self.to_delete.tables()}:
            for key in self.references.to(table):
                place = (table, key.referenced_columns)
                queries = [] if place in self._relations else self._lost_values(key)
                if queries:
                    self._relations[place] = self._create(len(self._relations), queries)

    def referenced(self) -> Iterator[tuple[ForeignKey, sql.Identifier]]:
        """Yield the foreign keys whose parents lose values, with these values."""
        for (table, columns), lost in self._relations.items():
            for key in self.references.to(table):
                if key.referenced_columns == columns:
                    yield key, lost

    def following(self) -> list[tuple[ForeignKey, sql.Identifier]]:
        """Return those whose values only the receiver has, with the values that change."""
        return [
            (key, lost) for key, lost in self.acting() if self.references.receiver_only_columns(key)
        ]

    def acting(self) -> list[tuple[ForeignKey, sql.Identifier]]:
        """Return foreign keys that act on a change of their parent, with the values that change."""
        return [(key, lost) for key, lost in self.referenced() if key.on_update.writes]

    def _lost_values(self, key: ForeignKey) -> list[sql.Composed]:
        """Return queries for lost values of parents: old, new, whether the row is preserved."""
        table, columns = key.referenced_table, key.referenced_columns
        parent = self.references.tables[table]
        old = named("t", columns, "o")
        queries = []
        difference = changing_difference(key, self.differences)
        if difference is not None:
            queries.append(
                sql.SQL(
                    "SELECT {}, {}, true AS kept FROM {} JOIN {} AS t ON {} WHERE {} *<> {}"
                ).format(
                    old,
                    named("n", columns, "n"),
                    difference.rows((CHANGE, REPLACE)),
                    parent.rows,
                    difference.target.same_row("t", "n"),
                    row_of(columns, "t"),
                    row_of(columns, "n"),
                )
            )
        if self.to_delete.counts.get(table):
            queries.append(
                sql.SQL("SELECT {}, {}, false AS kept FROM {} AS t JOIN {} AS d ON {}").format(
                    old,
                    named("t", columns, "n"),
                    parent.rows,
                    self.to_delete.relation(table),
                    self.to_delete.identity(table).matches("t", "d"),
                )
            )
        return queries

    def _create(self, number: int, queries: Sequence[sql.Composed]) -> sql.Identifier:
        relation = sql.Identifier("pg_temp", f"{self.prefix}_lost_{number}")
        self.connection.execute(
            sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS {}").format(
                relation, sql.SQL(" UNION ALL ").join(queries)
            )
        )
        self.connection.execute(sql.SQL("ANALYZE {}").format(relation))
        return relation

    def referring(self, key: ForeignKey, lost: sql.Identifier) -> sql.Composed:
        """Return the rows ``c`` that refer to lost values ``l``, for FROM."""
        return sql.SQL("{} AS c JOIN {} AS l ON {}").format(
            self.references.tables[key.table].rows, lost, self.refers(key)
        )

    def refers(self, key: ForeignKey) -> sql.Composed:
        """Return the condition that the child ``c`` refers to the old value of ``l``."""
        return key.compared("c", [("l", f"o{number}") for number, _ in enumerate(key.columns, 1)])


def changing_difference(
    key: ForeignKey, differences: Mapping[str, TableDifference]
) -> TableDifference | None:
    """Return the difference that may change the values to which a foreign key refers, if any."""
    difference = differences.get(key.referenced_table)
    if difference is None or not difference.changed:
        return None
    target, referenced = difference.target, set(key.referenced_columns)
    if not referenced <= set(target.shared):
        return None
    types = {column.name: column.type for column in target.columns}
    exact = all(_SAME_IF_EQUAL.fullmatch(types[name]) for name in referenced)
    return None if exact and referenced <= set(target.key) else difference


def may_have_changed(
    key: ForeignKey, differences: Mapping[str, TableDifference], to_delete: RowsToDelete
) -> bool:
    """Return whether values to which a foreign key refers may have changed, not only gone."""
    if key.referenced_table in differences:
        return changing_difference(key, differences) is not None
    # Values of a receiver-only table may follow those of others.
    return not to_delete.counts.get(key.referenced_table)


def named(alias: str, columns: Sequence[str], prefix: str) -> sql.Composed:
    """Return columns under the names ``<prefix>1``, ``<prefix>2`` and so on."""
    return sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(sql.Identifier(alias, c), sql.Identifier(f"{prefix}{i}"))
        for i, c in enumerate(columns, 1)
    )
