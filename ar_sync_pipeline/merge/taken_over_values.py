"""References of the receiver's own by values that one row takes over from another in a late load.

A late archive may give the referenced value of a row that is there to another one, and a later
archive of the same load restores that row. In between, the references to it cannot be told from
those to the other row, and ``ON UPDATE`` moves them along. So each of them is stored with the key
of its parent, and refers to that parent again in the end.
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from ar_sync_pipeline.merge.lost_values import named
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.row_identity import PLACE
from ar_sync_pipeline.merge.rows_to_delete import RowsToDelete
from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.sql_parts import assignments, column_list
from ar_sync_pipeline.postgres.table_facts import Action, ForeignKey


class TakenOverValues:
    """References to rows that the merges of one load delete, as they were before the first one."""

    def __init__(self, connection: Connection, references: References) -> None:
        self._connection = connection
        self._references = references
        self._relations: dict[ForeignKey, sql.Identifier] = {}

    def remember(self, to_delete: RowsToDelete) -> None:
        """Store the references to rows to delete whose value a row of the archive has."""
        for key in self.keys(to_delete):
            parent, child = (
                self._references.identity(t) for t in (key.referenced_table, key.table)
            )
            if PLACE in {parent, child}:
                continue
            query = sql.SQL("SELECT {}, {}, {} FROM {}").format(
                child.values("c"),
                named("p", parent.columns, "ar_sync parent "),
                column_list(key.columns, "c"),
                to_delete.with_staged_parents(key),
            )
            if key in self._relations:
                self._connection.execute(
                    sql.SQL("INSERT INTO {} {} ON CONFLICT DO NOTHING").format(
                        self._relations[key], query
                    )
                )
            else:
                name = f"ar_sync_taken_over_{len(self._relations)}"
                self._relations[key] = child.fill(self._connection, name, query)

    def keys(self, to_delete: RowsToDelete) -> Iterator[ForeignKey]:
        """Yield the receiver-only foreign keys that follow a change of a row to delete."""
        for table in sorted(to_delete.tables()):
            for key in self._references.to(table):
                if key.on_update.writes and self._references.receiver_only_columns(key):
                    yield key

    def restore(self, effects: SideEffects) -> None:
        """Let the references follow the rows to which they referred, if these exist."""
        for key, relation in self._relations.items():
            with effects.allowed(only_if=key.table not in self._references.targets):
                self._connection.execute(self._statement(key, relation))

    def _statement(self, key: ForeignKey, relation: sql.Identifier) -> sql.Composed:
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
                sql.Identifier("p", name),
                sql.SQL(operator),
                sql.Identifier("k", f"ar_sync parent {number}"),
            )
            for number, (name, operator) in enumerate(
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
            sql.SQL("true") if key.on_update is Action.CASCADE else unchanged,
        )
