"""References of the receiver's own, as they were before the archives of a load are merged.

A late archive takes back what later archives of the same load do again. In between, the value of a
row may belong to another one, so that ``ON UPDATE CASCADE`` moves the references to both, and
``ON UPDATE SET NULL`` loses those to a row that ends as it began. So such references are stored
with the key of the row that they refer to, and refer to that row again in the end.
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from ar_sync_pipeline.merge.lost_values import LostValues, named
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.row_identity import PLACE
from ar_sync_pipeline.merge.rows_to_delete import RowsToDelete
from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.sql_parts import TRUE, assignments, column_list
from ar_sync_pipeline.postgres.table_facts import Action, ForeignKey

_PARENT = "ar_sync parent "


class OwnReferences:
    """References that the merges of one load move, each in its state before the first merge."""

    def __init__(self, connection: Connection, references: References) -> None:
        self._connection = connection
        self._references = references
        self._relations: dict[ForeignKey, sql.Identifier] = {}

    def remember(self, to_delete: RowsToDelete, lost: LostValues) -> None:
        """Store the references that a merge is about to move; call it before any write."""
        for key in self.taken_over(to_delete):
            self._store(key, to_delete.with_staged_parents(key))
        for key, values in lost.following():
            if key.on_update is not Action.CASCADE:
                self._store(key, self._changed(key, lost.referring(key, values)))

    def taken_over(self, to_delete: RowsToDelete) -> Iterator[ForeignKey]:
        """Yield the receiver-only foreign keys that follow a change of a row to delete."""
        for table in sorted(to_delete.tables()):
            for key in self._references.to(table):
                if key.on_update.writes and self._references.receiver_only_columns(key):
                    yield key

    def _changed(self, key: ForeignKey, referring: sql.Composed) -> sql.Composed:
        return sql.SQL("{} JOIN {} AS p ON {} WHERE l.kept").format(
            referring,
            self._references.tables[key.referenced_table].rows,
            key.refers("c", "p"),
        )

    def _store(self, key: ForeignKey, rows: sql.Composed) -> None:
        """Store the child rows ``c`` of some parents ``p``; what is stored already stays."""
        child, parent = (self._references.identity(t) for t in (key.table, key.referenced_table))
        if PLACE in {child, parent}:
            return
        query = sql.SQL("SELECT {}, {}, {} FROM {}").format(
            child.values("c"),
            named("p", parent.columns, _PARENT),
            column_list(key.columns, "c"),
            rows,
        )
        if key in self._relations:
            self._connection.execute(
                sql.SQL("INSERT INTO {} {} ON CONFLICT DO NOTHING").format(
                    self._relations[key], query
                )
            )
            return
        name = f"ar_sync_own_reference_{len(self._relations)}"
        self._relations[key] = child.fill(self._connection, name, query)

    def restore(self, effects: SideEffects) -> None:
        """Let the stored references follow the rows that they referred to, if these exist."""
        for key, relation in self._relations.items():
            with effects.allowed(only_if=key.table not in self._references.targets):
                self._connection.execute(self._restoring(key, relation))

    def _restoring(self, key: ForeignKey, relation: sql.Identifier) -> sql.Composed:
        child, parent = (self._references.tables[t] for t in (key.table, key.referenced_table))
        unchanged = key.refers("k", "p")
        referenced = dict(zip(key.columns, key.referenced_columns, strict=True))
        values = {
            name: sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(
                unchanged, sql.Identifier("k", name), sql.Identifier("p", referenced[name])
            )
            for name in self._references.receiver_only_columns(key)
        }
        same_parent = sql.SQL(" AND ").join(
            sql.SQL("{} {} {}").format(
                sql.Identifier("p", name), sql.SQL(operator), sql.Identifier("k", f"{_PARENT}{n}")
            )
            for n, (name, operator) in enumerate(
                zip(parent.key, parent.key_operators, strict=True), 1
            )
        )
        return sql.SQL(
            "UPDATE {} AS c SET {} FROM {} AS k JOIN {} AS p ON {} WHERE {} AND {}"
        ).format(
            child.rows,
            assignments(values),
            relation,
            parent.rows,
            same_parent,
            self._references.identity(key.table).matches("c", "k"),
            TRUE if key.on_update is Action.CASCADE else unchanged,
        )
