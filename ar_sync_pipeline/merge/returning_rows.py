"""Deleted rows that may come back at the end of a load, as many of them as fit together.

A row comes back if nobody has taken its key or a unique value of it meanwhile, and if every row
that it refers to is there or comes back too; a reference that may be NULL becomes NULL instead.
Rows that refer to each other come back together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql

from ar_sync_pipeline.merge.load_tables import LoadTables
from ar_sync_pipeline.merge.target_table import equal_keys
from ar_sync_pipeline.postgres.shipped_table import column_list
from ar_sync_pipeline.postgres.table_facts import ForeignKey
from ar_sync_pipeline.postgres.table_order import parents_first


class ReturningRows:
    """Rows that were deleted, in temporary tables by table name."""

    def __init__(self, tables: LoadTables) -> None:
        self._tables = tables
        self._rows: dict[str, sql.Identifier] = {}
        self._source_values: dict[str, sql.Identifier] = {}

    def remember(self, table: str, rows: sql.Composed) -> None:
        """Copy rows that are about to be deleted; the first copy is the state before the load."""
        if table not in self._rows:
            self._rows[table] = self._make(table, self._tables.named(table))
        self._copy(self._rows[table], rows)
        target = self._tables.targets.get(table)
        if target is None or not target.rewritten:
            return
        if table not in self._source_values:
            self._source_values[table] = self._make(table, target.source_values)
        sent = sql.SQL("SELECT s.* FROM {} AS s JOIN ({}) AS r ON {}").format(
            target.source_values, rows, equal_keys("s", "r", target.primary_key)
        )
        self._copy(self._source_values[table], sent)

    def put_back(self, staged: Mapping[str, Sequence[sql.Identifier]]) -> None:
        """Insert the rows that may come back; constraints are deferred by the caller.

        Args:
            staged: by table, the staging tables of all archives of the load. What became of a row
                that one of them holds is known.
        """
        for table in self._rows:
            self._drop_staged(table, staged.get(table, ()))
            self._drop_taken(table)
        while any(self._drop_dangling(key) for key in self._references()):
            pass
        for table in parents_first(self._tables.facts):
            if table not in self._rows:
                continue
            facts, relation = self._tables.facts[table], self._rows[table]
            names = [column.name for column in facts.columns if not column.generated]
            self._tables.connection.execute(
                sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}").format(
                    self._tables.named(table), column_list(names), column_list(names), relation
                )
            )
        for table, relation in self._source_values.items():
            target = self._tables.targets[table]
            self._tables.connection.execute(
                sql.SQL("INSERT INTO {} SELECT s.* FROM {} AS s JOIN {} AS k ON {}").format(
                    target.source_values,
                    relation,
                    self._rows[table],
                    equal_keys("s", "k", target.primary_key),
                )
            )

    def _references(self) -> list[ForeignKey]:
        return [key for table in self._rows for key in self._tables.facts[table].foreign_keys]

    def _drop_staged(self, table: str, staged: Sequence[sql.Identifier]) -> None:
        for relation in staged:
            self._tables.connection.execute(
                sql.SQL("DELETE FROM {} AS k USING {} AS n WHERE {}").format(
                    self._rows[table],
                    relation,
                    equal_keys("k", "n", self._tables.facts[table].primary_key),
                )
            )

    def _drop_taken(self, table: str) -> None:
        """Forget rows whose key or unique value is another row's now."""
        facts = self._tables.facts[table]
        for unique_key in (facts.primary_key, *(k.plain for k in facts.unique_keys if k.plain)):
            self._tables.connection.execute(
                sql.SQL("DELETE FROM {} AS k USING {} AS t WHERE {}").format(
                    self._rows[table], self._tables.named(table), equal_keys("k", "t", unique_key)
                )
            )

    def _drop_dangling(self, key: ForeignKey) -> bool:
        """Forget rows, or references that may be NULL, that would name nothing."""
        relation = self._rows[key.table]
        if self._may_be_null(key):
            assignments = (sql.SQL("{} = NULL").format(sql.Identifier(c)) for c in key.columns)
            statement = sql.SQL("UPDATE {} AS k SET {} WHERE {}").format(
                relation, sql.SQL(", ").join(assignments), self._names_nothing(key)
            )
        else:
            statement = sql.SQL("DELETE FROM {} AS k WHERE {}").format(
                relation, self._names_nothing(key)
            )
        return self._tables.connection.execute(statement).rowcount > 0

    def _names_nothing(self, key: ForeignKey) -> sql.Composed:
        conditions = [
            sql.SQL("{} IS NOT NULL").format(sql.Identifier("k", column)) for column in key.columns
        ]
        parents = [self._tables.named(key.referenced_table)]
        if key.referenced_table in self._rows:
            parents.append(self._rows[key.referenced_table])
        conditions += [
            sql.SQL("NOT EXISTS (SELECT FROM {} AS p WHERE {})").format(parent, _refers(key))
            for parent in parents
        ]
        return sql.SQL(" AND ").join(conditions)

    def _may_be_null(self, key: ForeignKey) -> bool:
        """A shared column is the sender's: its row is not changed, but left out."""
        target = self._tables.targets.get(key.table)
        columns = [self._tables.facts[key.table].column(name) for name in key.columns]
        own = target is None or not set(key.columns) & set(target.shared)
        return own and all(column is not None and column.nullable for column in columns)

    def _copy(self, relation: sql.Identifier, rows: sql.Composed) -> None:
        self._tables.connection.execute(
            sql.SQL("INSERT INTO {} {} ON CONFLICT DO NOTHING").format(relation, rows)
        )

    def _make(self, table: str, like: sql.Identifier) -> sql.Identifier:
        number = len(self._rows) + len(self._source_values)
        query = sql.SQL("TABLE {}").format(like)
        return self._tables.empty_copy(f"ar_sync_returning_{number}", table, query)


def _refers(key: ForeignKey) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier("p", there), sql.Identifier("k", here))
        for here, there in zip(key.columns, key.referenced_columns, strict=True)
    )
