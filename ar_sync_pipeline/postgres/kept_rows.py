"""What is the receiver's own of rows that one load deletes and then brings back.

An older archive that comes late is applied with the later ones behind it, in one transaction. What
it lacks is deleted, and a later archive may hold it: the row comes back, but without the columns
that people set here, and without the rows of the receiver's own tables that depended on it. So
both are kept in temporary tables, and put back at the end.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.deletion import DoomedRows
from ar_sync_pipeline.postgres.schema_facts import ForeignKey, TableFacts
from ar_sync_pipeline.postgres.shipped_table import column_list
from ar_sync_pipeline.postgres.table_order import parents_first
from ar_sync_pipeline.postgres.target_table import TargetTable, equal_keys


class KeptRows:
    """The rows that the merges of one load delete; each as it was before the first of them.

    Args:
        tables: every table of the receiver's schema.
        targets: the tables that travel, by name.
    """

    def __init__(
        self,
        connection: Connection,
        schema: str,
        tables: Mapping[str, TableFacts],
        targets: Mapping[str, TargetTable],
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._tables = tables
        self._targets = targets
        self._rows: dict[str, sql.Identifier] = {}
        self._references: dict[ForeignKey, sql.Identifier] = {}

    def remember(self, doomed: DoomedRows) -> None:
        """Copy what is about to be deleted, and the references that are about to become NULL."""
        for table, count in doomed.counts.items():
            if count:
                self._copy(
                    self._relation(table),
                    sql.SQL("SELECT t.* FROM {} AS t JOIN {} AS d ON {}").format(
                        self._table(table), doomed.keys(table), self._same("t", "d", table)
                    ),
                )
        for key in doomed.cleared():
            self._copy(self._reference(key), doomed.references(key))

    def restore(self) -> None:
        """Put back what is the receiver's own of the rows that are there again."""
        self._connection.execute("SET CONSTRAINTS ALL DEFERRED")
        for table in parents_first(self._tables):
            if table not in self._rows:
                continue
            if table in self._targets:
                self._restore_columns(self._targets[table])
            else:
                self._restore_rows(self._tables[table])
        for key, relation in self._references.items():
            self._restore_reference(key, relation)
        self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def lost(self) -> dict[str, int]:
        """Rows that are deleted in the end, by table."""
        counts = {}
        for table, relation in self._rows.items():
            query = sql.SQL(
                "SELECT count(*) FROM {} AS k WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {})"
            ).format(relation, self._table(table), self._same("t", "k", table))
            row = self._connection.execute(query).fetchone()
            counts[table] = row[0] if row else 0
        return counts

    def _restore_columns(self, target: TargetTable) -> None:
        """Derived columns are left to the transform, which finds such a row untransformed."""
        derived = {*target.rules.reset_on_change, *target.rules.clear_on_change}
        own = [name for name in target.own if name not in derived]
        if own:
            self._connection.execute(
                sql.SQL("UPDATE {} AS t SET {} FROM {} AS k WHERE {}").format(
                    target.relation, _from_kept(own), self._rows[target.name],
                    self._same("t", "k", target.name),
                )
            )  # fmt: skip

    def _restore_rows(self, facts: TableFacts) -> None:
        names = [column.name for column in facts.columns if not column.generated]
        parents = [
            sql.SQL("AND {}").format(self._parent_is_there(key)) for key in facts.foreign_keys
        ]
        self._connection.execute(
            sql.SQL(
                "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values}"
                " FROM {kept} AS k WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE {same})"
                " {parents}"
            ).format(
                table=self._table(facts.name),
                columns=column_list(names),
                values=column_list(names, "k"),
                kept=self._rows[facts.name],
                same=self._same("t", "k", facts.name),
                parents=sql.SQL(" ").join(parents),
            )
        )

    def _restore_reference(self, key: ForeignKey, relation: sql.Identifier) -> None:
        self._connection.execute(
            sql.SQL("UPDATE {} AS t SET {} FROM {} AS k WHERE {} AND {}").format(
                self._table(key.table), _from_kept(key.columns), relation,
                self._same("t", "k", key.table), self._parent_is_there(key),
            )
        )  # fmt: skip

    def _parent_is_there(self, key: ForeignKey) -> sql.Composed:
        """The kept row's parent exists, or the reference is NULL in some column."""
        if key.table == key.referenced_table:
            return sql.SQL("true").format()
        equal = sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier("p", there), sql.Identifier("k", here))
            for here, there in zip(key.columns, key.referenced_columns, strict=True)
        )
        missing = sql.SQL(" OR ").join(
            sql.SQL("{} IS NULL").format(sql.Identifier("k", name)) for name in key.columns
        )
        return sql.SQL("({} OR EXISTS (SELECT FROM {} AS p WHERE {}))").format(
            missing, self._table(key.referenced_table), equal
        )

    def _relation(self, table: str) -> sql.Identifier:
        if table not in self._rows:
            source = sql.SQL("SELECT * FROM {}").format(self._table(table))
            self._rows[table] = self._make("rows", len(self._rows), source, table)
        return self._rows[table]

    def _reference(self, key: ForeignKey) -> sql.Identifier:
        if key not in self._references:
            names = (*self._tables[key.table].primary_key, *key.columns)
            source = sql.SQL("SELECT {} FROM {}").format(column_list(names), self._table(key.table))
            self._references[key] = self._make(
                "references", len(self._references), source, key.table
            )
        return self._references[key]

    def _make(self, what: str, number: int, source: sql.Composed, table: str) -> sql.Identifier:
        relation = sql.Identifier("pg_temp", f"ar_sync_kept_{what}_{number}")
        self._connection.execute(
            sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS {} WITH NO DATA").format(
                relation, source
            )
        )
        self._connection.execute(
            sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(
                relation, column_list(self._tables[table].primary_key)
            )
        )
        return relation

    def _copy(self, relation: sql.Identifier, query: sql.Composed) -> None:
        """The first copy counts: it is the state before the load."""
        self._connection.execute(
            sql.SQL("INSERT INTO {} {} ON CONFLICT DO NOTHING").format(relation, query)
        )

    def _table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._schema, name)

    def _same(self, left: str, right: str, table: str) -> sql.Composed:
        return equal_keys(left, right, self._tables[table].primary_key)


def _from_kept(names: tuple[str, ...] | list[str]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("k", name)) for name in names
    )
