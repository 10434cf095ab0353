"""Deleted rows that may be restored at the end of a load, as many of them as fit together.

A row is restored if no other row has its key or a unique value of it, and if every row that it
refers to exists or is restored too. A reference that may be NULL becomes NULL instead. Rows that
refer to each other are restored together. A shared row may be an orphan of a key that is NOT VALID
on both servers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql

from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.source_values import same_source
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.temporary_copies import TemporaryCopies
from ar_sync_pipeline.merge.unique_values import ROWS, conflict, indexed
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.session_settings import application_settings
from ar_sync_pipeline.postgres.sql_parts import TRUE, any_null, assignments, column_list
from ar_sync_pipeline.postgres.table_facts import ForeignKey, UniqueKey


class RestoredRows:
    """Deleted rows, in temporary tables by table name."""

    def __init__(self, connection: Connection, references: References) -> None:
        self._connection = connection
        self._references = references
        self._copies = TemporaryCopies(connection, references, "ar_sync_restored")
        self._source_values: dict[str, sql.Identifier] = {}

    def remember(self, table: str, rows: sql.Composed) -> None:
        """Copy rows that are about to be deleted; the first copy is the state before the load."""
        self._copies.add(table, rows)
        target = self._references.targets.get(table)
        if target is None or not target.transformed:
            return
        if table not in self._source_values:
            self._source_values[table] = self._copies.create(
                f"source_{len(self._source_values)}", table, source=target.source_values
            )
        sent = sql.SQL("SELECT s.* FROM {} AS s JOIN ({}) AS r ON {}").format(
            target.source_values, rows, same_source(target, "r", "s")
        )
        self._copies.insert(self._source_values[table], sent)

    def put_back(self, staged: Mapping[str, Sequence[StagedTable]]) -> None:
        """Insert the rows that may be restored, all tables in one statement.

        Args:
            staged: Staged tables of all archives of the load, by name. A row in one of them is
                not restored, because its state is known.
        """
        for table, relation in self._copies.items():
            self._drop_staged(relation, staged.get(table, ()))
            for unique in self._references.tables[table].unique_keys:
                self._drop_taken(table, relation, unique)
        while any(self._drop_dangling(key) for key in self._foreign_keys()):
            pass
        self._insert()
        for table, relation in self._source_values.items():
            target = self._references.targets[table]
            self._connection.execute(
                sql.SQL("INSERT INTO {} SELECT s.* FROM {} AS s JOIN {} AS k ON {}").format(
                    target.source_values,
                    relation,
                    self._copies[table],
                    same_source(target, "k", "s"),
                )
            )

    def _insert(self) -> None:
        parts = []
        for number, (table, relation) in enumerate(self._copies.items()):
            facts = self._references.tables[table]
            names = [column.name for column in facts.columns if not column.generated]
            parts.append(
                sql.SQL(
                    "{} AS (INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {})"
                ).format(
                    sql.Identifier(f"part {number}"),
                    facts.relation,
                    column_list(names),
                    column_list(names),
                    relation,
                )
            )
        if parts:
            with application_settings(self._connection):
                self._connection.execute(
                    sql.SQL("WITH {} SELECT").format(sql.SQL(", ").join(parts))
                )

    def _foreign_keys(self) -> list[ForeignKey]:
        return [
            key
            for table, _ in self._copies.items()
            for key in self._references.of(table)
            if not self._references.may_have_orphans(key)
        ]

    def _drop_staged(self, relation: sql.Identifier, staged: Sequence[StagedTable]) -> None:
        """Drop copies of staged rows, each by the key of its archive; without one, all copies."""
        for one in staged:
            same = one.target.same_row("k", "n") if one.target.key else sql.SQL("true")
            self._connection.execute(
                sql.SQL("DELETE FROM {} AS k USING {} AS n WHERE {}").format(
                    relation, one.relation, same
                )
            )

    def _drop_taken(self, table: str, relation: sql.Identifier, unique: UniqueKey) -> None:
        """Drop copies whose key or unique value another row now has."""
        facts = self._references.tables[table]
        self._connection.execute(
            sql.SQL(
                "DELETE FROM {} WHERE ctid IN (SELECT k.ctid FROM ({}) AS k JOIN ({}) AS t ON {})"
            ).format(
                relation,
                indexed(unique, sql.Identifier(ROWS, "ctid"), relation),
                indexed(unique, TRUE, facts.rows),
                conflict(unique, "k", "t"),
            )
        )

    def _drop_dangling(self, key: ForeignKey) -> bool:
        """Drop copies that would be orphans; clear their references instead if they may be NULL."""
        relation = self._copies[key.table]
        cleared = self._references.cleared_columns(key)
        if cleared:
            statement = sql.SQL("UPDATE {} AS k SET {} WHERE {}").format(
                relation,
                assignments(dict.fromkeys(cleared, sql.SQL("NULL"))),
                self._names_nothing(key),
            )
        else:
            statement = sql.SQL("DELETE FROM {} AS k WHERE {}").format(
                relation, self._names_nothing(key)
            )
        return self._connection.execute(statement).rowcount > 0

    def _names_nothing(self, key: ForeignKey) -> sql.Composed:
        parents: list[sql.Composable] = [self._references.tables[key.referenced_table].rows]
        if key.referenced_table in self._copies:
            parents.append(self._copies[key.referenced_table])
        # Parents of a period count together; of other keys the planner looks up each relation.
        groups = [parents] if key.period else [[parent] for parent in parents]
        absent = [any_null("k", key.columns), *(key.has_parent("k", *group) for group in groups)]
        return sql.SQL(" AND ").join(sql.SQL("NOT {}").format(condition) for condition in absent)
