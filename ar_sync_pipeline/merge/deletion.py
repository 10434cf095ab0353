"""Deleting rows at the receiver together with all that depends on them there.

A row that the sender no longer has may be referred to by rows of the receiver's own tables, or
by own columns of shared tables. Own columns that may be NULL become NULL, other dependent rows go
first; so no constraint of the receiver is ever violated and nothing is kept that points nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from psycopg import sql

from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.target_table import TargetTable, equal_keys
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.shipped_table import column_list
from ar_sync_pipeline.postgres.table_facts import ForeignKey, TableFacts
from ar_sync_pipeline.postgres.table_order import parents_first


@dataclass
class DoomedRows:
    """Keys of the rows that one merge deletes, in temporary tables by table name.

    Attributes:
        tables: every table of the receiver's schema, the receiver's own included.
        targets: the tables that travel, by name.
        staged: the tables that this archive brings, by name.
        prefix: of the temporary tables' names.
        counts: rows to be deleted, by table.
    """

    connection: Connection
    schema: str
    tables: Mapping[str, TableFacts]
    targets: Mapping[str, TargetTable]
    staged: Mapping[str, StagedTable]
    prefix: str
    counts: dict[str, int] = field(default_factory=dict)
    _relations: dict[str, sql.Identifier] = field(default_factory=dict)

    def doom(self, table: str, keys: sql.Composed) -> int:
        """Mark the rows whose keys a query yields; returns how many were new."""
        statement = sql.SQL("INSERT INTO {} {} ON CONFLICT DO NOTHING")
        count = self.connection.execute(statement.format(self.keys(table), keys)).rowcount
        self.counts[table] = self.counts.get(table, 0) + count
        return count

    def cascade(self) -> None:
        """Mark what depends on marked rows, until nothing more does."""
        pending = {table for table, count in self.counts.items() if count}
        while pending:
            pending = {
                key.table
                for key in self._dependencies(pending)
                if not self._becomes_null(key) and self.doom(key.table, self._dependents(key))
            }

    def delete(self) -> None:
        """Delete the marked rows, children before parents."""
        for key in self.cleared():
            self._clear(key)
        doomed = self._doomed()
        for table in reversed(parents_first(self.tables)):
            if table in doomed:
                self._delete_from(table)

    def cleared(self) -> list[ForeignKey]:
        """The references to marked rows that become NULL."""
        return [key for key in self._dependencies(self._doomed()) if self._becomes_null(key)]

    def references(self, key: ForeignKey) -> sql.Composed:
        """The query for primary key and reference of the rows that refer to marked rows."""
        names = (*self.tables[key.table].primary_key, *key.columns)
        return sql.SQL("SELECT {} FROM {}").format(column_list(names, "c"), self._children(key))

    def _doomed(self) -> set[str]:
        return {table for table, count in self.counts.items() if count}

    def _dependencies(self, parents: set[str]) -> list[ForeignKey]:
        return [
            key
            for facts in self.tables.values()
            for key in facts.foreign_keys
            if key.referenced_table in parents
        ]

    def _is_own(self, key: ForeignKey) -> bool:
        target = self.targets.get(key.table)
        return target is None or not set(key.columns) <= set(target.shared)

    def _becomes_null(self, key: ForeignKey) -> bool:
        columns = [self.tables[key.table].column(name) for name in key.columns]
        return self._is_own(key) and all(c is not None and c.nullable for c in columns)

    def _dependents(self, key: ForeignKey) -> sql.Composed:
        """Keys of the rows that refer to marked rows and that this archive does not write anew."""
        primary_key = self.tables[key.table].primary_key
        query = sql.SQL("SELECT {} FROM {}").format(
            column_list(primary_key, "c"), self._children(key)
        )
        staged = self.staged.get(key.table)
        if staged is None or self._is_own(key):
            return query
        return sql.SQL("{} WHERE NOT EXISTS (SELECT FROM {} AS n WHERE {})").format(
            query, staged.relation, equal_keys("n", "c", primary_key)
        )

    def _children(self, key: ForeignKey) -> sql.Composed:
        parent = self.tables[key.referenced_table]
        refers = sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier("c", column), sql.Identifier("p", referenced))
            for column, referenced in zip(key.columns, key.referenced_columns, strict=True)
        )
        return sql.SQL("{} AS c JOIN {} AS p ON {} JOIN {} AS d ON {}").format(
            sql.Identifier(self.schema, key.table),
            sql.Identifier(self.schema, key.referenced_table),
            refers,
            self.keys(key.referenced_table),
            equal_keys("d", "p", parent.primary_key),
        )

    def _clear(self, key: ForeignKey) -> None:
        primary_key = self.tables[key.table].primary_key
        self.connection.execute(
            sql.SQL("UPDATE {} AS u SET {} FROM {} WHERE {}").format(
                sql.Identifier(self.schema, key.table),
                sql.SQL(", ").join(
                    sql.SQL("{} = NULL").format(sql.Identifier(column)) for column in key.columns
                ),
                self._children(key),
                equal_keys("u", "c", primary_key),
            )
        )

    def _delete_from(self, table: str) -> None:
        relations: list[sql.Composable] = [sql.Identifier(self.schema, table)]
        target = self.targets.get(table)
        if target is not None and target.rewritten:
            relations.append(target.source_values)
        for relation in relations:
            self.connection.execute(
                sql.SQL("DELETE FROM {} AS t USING {} AS d WHERE {}").format(
                    relation,
                    self.keys(table),
                    equal_keys("t", "d", self.tables[table].primary_key),
                )
            )

    def keys(self, table: str) -> sql.Identifier:
        """The temporary table of the keys of a table's marked rows."""
        if table not in self._relations:
            relation = sql.Identifier("pg_temp", f"{self.prefix}_{len(self._relations)}")
            key = column_list(self.tables[table].primary_key)
            self.connection.execute(
                sql.SQL(
                    "CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA"
                ).format(relation, key, sql.Identifier(self.schema, table))
            )
            self.connection.execute(
                sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(relation, key)
            )
            self._relations[table] = relation
        return self._relations[table]
