"""Rows whose results depend on other rows: parents of changed children, and of lost results.

The catalog's ``children`` belong to a row of the parent, and the transform computes the parent's
results from them, too. A child may arrive with a later archive than its parent, move to another
parent, or be deleted; the parent's own row then has not changed.

A row of a receiver-only table may be a result of one replicated row and refer to another one, such
as the nearest stop. If it is deleted with the latter, or its reference becomes NULL, the former is
transformed again; so is a row of which a receiver-only column refers to a deleted row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.merge.differences import CHANGE, REPLACE, WRITTEN, TableDifference
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.rows_to_delete import RowsToDelete
from ar_sync_pipeline.merge.source_values import same_source, sent_value
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.sql_parts import assignments, column_list, is_null
from ar_sync_pipeline.postgres.table_facts import ForeignKey
from ar_sync_pipeline.postgres.unique_columns import source_columns


@dataclass(frozen=True)
class _Reset:
    """Rows of a table to reset.

    Attributes:
        name: Name of the temporary table with their identities.
        restored: Columns of which that table has the sender's values, too, where they are known.
    """

    target: TargetTable
    name: str
    restored: tuple[str, ...]

    def statement(self) -> sql.Composed:
        known = sql.Identifier("d", self._known)
        # The row is transformed again, and the transform may not be idempotent.
        values: dict[str, sql.Composable] = {
            name: sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(
                known, sql.Identifier("d", name), sql.Identifier("t", name)
            )
            for name in self.restored
        }
        return sql.SQL("UPDATE {} AS t SET {} FROM {} AS d WHERE {}").format(
            self.target.rows,
            assignments(values | self.target.defaults()),
            sql.Identifier("pg_temp", self.name),
            self.target.identity.matches("t", "d"),
        )

    def fill(self, connection: Connection, identities: sql.Composable) -> None:
        """Create the temporary table from a query of identities."""
        target, identity, query = self.target, self.target.identity, identities
        if self.restored:
            columns = [
                sql.SQL("r.*, NOT {} AS {}").format(
                    is_null("s", target.key[0]), sql.Identifier(self._known)
                )
            ]
            columns += [
                sql.SQL("{} AS {}").format(
                    sent_value(connection, target, name, "s", f"{self.name}_{number}"),
                    sql.Identifier(name),
                )
                for number, name in enumerate(self.restored)
            ]
            query = sql.SQL("SELECT {} FROM ({}) AS r LEFT JOIN {} AS s ON {}").format(
                sql.SQL(", ").join(columns),
                identities,
                target.source_values,
                same_source(target, "r", "s", identity.stored),
            )
        identity.fill(connection, self.name, query)

    @property
    def _known(self) -> str:
        return f"{self.target.identity.prefix}known"


@dataclass(frozen=True)
class ParentResets:
    """Rows to reset, as identities in temporary tables.

    The merge neither writes nor deletes these rows for another reason: rows that it writes are
    reset by the same statement.
    """

    _found: Mapping[str, _Reset]

    def tables(self) -> set[str]:
        """Return the tables that may have rows to reset."""
        return {*self._found}

    def statements(self, tables: set[str]) -> list[sql.Composed]:
        """Return the statements that reset the rows of some tables.

        They write rows that wait for the transform already, too. A transform that works on such a
        row holds its lock, does not see the new child, and is about to mark the row as transformed:
        the reset has to wait for it.
        """
        return [reset.statement() for name, reset in self._found.items() if name in tables]


def find_parents_to_reset(
    connection: Connection,
    references: References,
    differences: Mapping[str, TableDifference],
    to_delete: RowsToDelete,
    prefix: str,
) -> ParentResets:
    """Return the parents of rows that the merge adds, changes or deletes.

    Call it before anything is written: a child that moves is known by its old parent, too.

    Args:
        prefix: Prefix of the names of temporary tables, unique within the transaction.
    """
    changes = _ChildChanges(references, differences, to_delete)
    found: dict[str, _Reset] = {}
    for name, target in references.targets.items():
        written = differences.get(name)
        if not target.defaults() or not target.key or (written and written.fills):
            continue  # nothing to reset, or every row is new
        parents = [
            sql.SQL("SELECT {} FROM {} AS p JOIN ({}) AS c ON {} WHERE {}").format(
                target.identity.values("p"),
                target.rows,
                sql.SQL(" UNION ").join(children),
                key.refers("c", "p"),
                changes.is_untouched(target, "p"),
            )
            for key in references.to(name)
            if key.table in target.rules.children or key.table not in references.targets
            if (children := list(changes.of(key)))
        ]
        parents += changes.losing_references(target)
        if parents:
            query = sql.SQL("SELECT DISTINCT * FROM ({}) AS r").format(
                sql.SQL(" UNION ALL ").join(parents)
            )
            restored = _restored_columns(references, target)
            reset = found[name] = _Reset(target, f"{prefix}_reset_{len(found)}", restored)
            reset.fill(connection, query)
    return ParentResets(found)


def _restored_columns(references: References, target: TargetTable) -> tuple[str, ...]:
    """Return the transformed columns of which reset rows get the sender's values.

    Those of foreign keys keep the transform's: references follow the rows of the archive only.
    """
    if not target.transforms_again:
        return ()
    keys, parents = references.of(target.name), references.to(target.name)
    used = {name for key in keys for name in key.columns}
    used |= {name for key in parents for name in key.referenced_columns}
    in_keys = source_columns(target.facts, used)
    return tuple(name for name in target.transformed if name not in in_keys)


@dataclass(frozen=True)
class _ChildChanges:
    references: References
    differences: Mapping[str, TableDifference]
    to_delete: RowsToDelete

    def of(self, key: ForeignKey) -> Iterator[sql.Composed]:
        """Return queries for the values of a foreign key in changed rows, before and after."""
        child, difference = self.references.targets.get(key.table), self.differences.get(key.table)
        if child is None:
            yield from self._lost(key)
            return
        if not set(key.columns) <= set(child.shared):
            return  # the sender does not write it
        before = sql.SQL("SELECT {} FROM {} AS t JOIN {} AS d ON {}")
        values = column_list(key.columns, "t")
        if difference is not None and not difference.empty:
            yield sql.SQL("SELECT {} FROM {}").format(
                column_list(key.columns, "n"), difference.rows(WRITTEN)
            )
            if difference.changed and not difference.fills:
                actions = sql.SQL(" AND d.action = ANY ({})").format(sql.Literal([CHANGE, REPLACE]))
                same = difference.identity.matches("t", "d")
                yield before.format(values, child.rows, difference.relation, same + actions)
        yield from self._deleted(key)

    def _lost(self, key: ForeignKey) -> Iterator[sql.Composed]:
        """Return queries for the values in receiver-only rows that the merge deletes or clears."""
        yield from self._deleted(key)
        for cleared in self.to_delete.cleared():
            if cleared.table == key.table:
                yield sql.SQL("SELECT {} FROM {}").format(
                    column_list(key.columns, "c"), self.to_delete.losing_parents(cleared)
                )

    def _deleted(self, key: ForeignKey) -> Iterator[sql.Composed]:
        if key.table in self.to_delete.tables():
            yield sql.SQL("SELECT {} FROM {} AS t JOIN {} AS d ON {}").format(
                column_list(key.columns, "t"),
                self.references.tables[key.table].rows,
                self.to_delete.relation(key.table),
                self.to_delete.identity(key.table).matches("t", "d"),
            )

    def losing_references(self, target: TargetTable) -> list[sql.Composed]:
        """Return queries for unwritten rows of which the merge clears a receiver-only reference."""
        return [
            sql.SQL("SELECT {} FROM {} AND {}").format(
                target.identity.values("c"),
                self.to_delete.losing_parents(key),
                self.is_untouched(target, "c"),
            )
            for key in self.to_delete.cleared()
            if key.table == target.name
        ]

    def is_untouched(self, target: TargetTable, alias: str) -> sql.Composable:
        """Return the condition that the merge does not write or delete a row of a table."""
        relations = []
        difference = self.differences.get(target.name)
        if difference is not None and not difference.empty:
            relations.append(difference.relation)
        if target.name in self.to_delete.tables():
            relations.append(self.to_delete.relation(target.name))
        conditions = [
            sql.SQL("NOT {}").format(target.identity.is_in(alias, relation))
            for relation in relations
        ]
        return sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true")
