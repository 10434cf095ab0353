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
from ar_sync_pipeline.merge.rows_to_delete import RowsToDelete
from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.sql_parts import TRUE, assignments, column_list, exists
from ar_sync_pipeline.postgres.table_facts import Action, ForeignKey


class OwnReferences:
    """References that the merges of one load move, each in its state before the first merge."""

    def __init__(self, connection: Connection, references: References) -> None:
        self._connection = connection
        self._references = references
        self._relations: dict[ForeignKey, sql.Identifier] = {}
        self._unkeyed = list[dict[ForeignKey, sql.Identifier]]()

    def remember(self, to_delete: RowsToDelete, lost: LostValues) -> None:
        """Store the references that a merge is about to move; call it before any write."""
        self._unkeyed.append({})
        for key in self._following(to_delete):
            if to_delete.identity(key.table).by_place:
                self._store_parents(key, to_delete.with_staged_parents(key))
            else:
                parents = to_delete.relation(key.referenced_table)
                self._store(key, self._references.joined(key, parents))
        for key, values in lost.following():
            if key.on_update is not Action.CASCADE and self._is_restorable(key):
                self._store(key, self._changed(key, lost.referring(key, values)))

    def _following(self, to_delete: RowsToDelete) -> Iterator[ForeignKey]:
        """Yield the keys that follow a change of a row to delete."""
        for table in sorted(to_delete.tables()):
            for key in self._references.to(table):
                if key.on_update.writes and self._is_restorable(key):
                    yield key

    def _is_restorable(self, key: ForeignKey) -> bool:
        """Return whether only the receiver has the reference, and its row can be found again.

        Derived columns are not restored: the transform computes them again.
        """
        child, target = self._references.tables[key.table], self._references.targets.get(key.table)
        kept = {*self._references.receiver_only_columns(key)} - {*child.key}
        if target is not None:
            kept -= {*target.rules.reset_on_change, *target.rules.clear_on_change}
        has_key = not self._references.identity(key.referenced_table).by_place
        return has_key and kept.issuperset(key.columns)

    def _changed(self, key: ForeignKey, referring: sql.Composed) -> sql.Composed:
        return sql.SQL("{} JOIN {} AS p ON {} WHERE l.kept").format(
            referring,
            self._references.tables[key.referenced_table].rows,
            key.refers("c", "p"),
        )

    def _store(self, key: ForeignKey, rows: sql.Composed) -> None:
        """Store the child rows ``c`` of some parents ``p``; what is stored already stays."""
        child = self._references.identity(key.table)
        if child.by_place:
            return
        query = sql.SQL("SELECT {}, {}, {} FROM {}").format(
            child.values("c"), self._parents(key), column_list(key.columns, "c"), rows
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

    def _store_parents(self, key: ForeignKey, rows: sql.Composed) -> None:
        """Store only which parents ``p`` children have that no key identifies."""
        known = self._unkeyed[-1]
        known[key] = sql.Identifier(
            "pg_temp", f"ar_sync_own_unkeyed_{len(self._unkeyed)}_{len(known)}"
        )
        self._connection.execute(
            sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT DISTINCT {} FROM {}").format(
                known[key], self._parents(key), rows
            )
        )

    def _parents(self, key: ForeignKey) -> sql.Composed:
        parent = self._references.tables[key.referenced_table]
        return named("p", parent.key, self._prefix_of_parents(key))

    def _prefix_of_parents(self, key: ForeignKey) -> str:
        """Return the prefix of the names of parents' keys, which no column of the child has."""
        return f"{self._references.identity(key.table).prefix}of parent "

    def _same_parent(self, key: ForeignKey) -> sql.Composed:
        """Return the condition that ``p`` is the parent of the stored reference ``k``."""
        parent, prefix = self._references.tables[key.referenced_table], self._prefix_of_parents(key)
        return sql.SQL(" AND ").join(
            sql.SQL("{} {} {}").format(
                sql.Identifier("p", name), sql.SQL(operator), sql.Identifier("k", f"{prefix}{n}")
            )
            for n, (name, operator) in enumerate(
                zip(parent.key, parent.key_operators, strict=True), 1
            )
        )

    def restore(self, effects: SideEffects) -> None:
        """Let the stored references follow the rows that they referred to, if these exist."""
        for key, relation in self._relations.items():
            with effects.allowed(only_if=key.table not in self._references.targets):
                self._connection.execute(self._restoring(key, relation))

    def lost(self, number: int) -> str | None:
        """Return a table without a key that has lost references to rows which exist again.

        Args:
            number: Number of the merge that deleted the rows, in order.
        """
        for key, relation in self._unkeyed[number].items():
            parent = self._references.tables[key.referenced_table]
            rows = sql.SQL("{} AS k JOIN {} AS p ON {}").format(
                relation, parent.rows, self._same_parent(key)
            )
            if exists(self._connection, rows):
                return key.table
        return None

    def _restoring(self, key: ForeignKey, relation: sql.Identifier) -> sql.Composed:
        child, parent = (self._references.tables[t] for t in (key.table, key.referenced_table))
        unchanged = key.refers("k", "p")
        values = {
            name: sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(
                unchanged, sql.Identifier("k", name), sql.Identifier("p", referenced)
            )
            for name, referenced in zip(key.columns, key.referenced_columns, strict=True)
        }
        differs = sql.SQL(" OR ").join(
            sql.SQL("{}::text IS DISTINCT FROM ({})::text").format(sql.Identifier("c", name), value)
            for name, value in values.items()
        )
        return sql.SQL(
            "UPDATE {} AS c SET {} FROM {} AS k JOIN {} AS p ON {} WHERE {} AND {} AND ({})"
        ).format(
            child.rows,
            assignments(values),
            relation,
            parent.rows,
            self._same_parent(key),
            self._references.identity(key.table).matches("c", "k"),
            TRUE if key.on_update is Action.CASCADE else unchanged,
            differs,
        )
