"""Rows that an older archive deletes and a later archive of the same load restores.

An older archive that arrives late is applied before the later ones, in one transaction. A complete
deletes the rows that it lacks. A partial deletes the row whose unique value it gives to another,
with all dependent rows. A later archive may bring such a row back, but without the columns that
people set at the receiver, without the dependent rows of receiver-only tables, and without the
dependent shared rows that no later archive contains because they have not changed. So all of this
is preserved in temporary tables, and restored at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from ar_sync_pipeline.merge.errors import refusal
from ar_sync_pipeline.merge.lost_values import LostValues
from ar_sync_pipeline.merge.own_references import OwnReferences
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.restored_rows import RestoredRows
from ar_sync_pipeline.merge.rows_to_delete import RowsToDelete
from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.merge.temporary_copies import TemporaryCopies
from ar_sync_pipeline.merge.violated_tables import violated_tables
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.sql_parts import any_null, assignments, column_list, exists
from ar_sync_pipeline.postgres.table_facts import ForeignKey


class PreservedRows:
    """The rows that the merges of one load delete, each in its state before the first merge."""

    def __init__(self, connection: Connection, references: References) -> None:
        self._connection = connection
        self._references = references
        self._copies = TemporaryCopies(connection, references, "ar_sync_preserved")
        self._cleared: dict[ForeignKey, sql.Identifier] = {}
        self._unkeyed = list[dict[ForeignKey, sql.Identifier]]()
        self._restored = RestoredRows(connection, references)
        self._own = OwnReferences(connection, references)

    def remember(
        self,
        to_delete: RowsToDelete,
        lost: LostValues,
        later: Mapping[str, Sequence[StagedTable]],
    ) -> None:
        """Copy the rows to delete, and the references that the merge is about to change.

        A shared row that this archive or a later one would have, because it has all rows of the
        table, is not restored: the archive decides.

        Args:
            lost: Referenced values that rows are about to lose.
            later: Staged tables of the archives that are applied after this one, by name.
        """
        self._unkeyed.append({})
        for table, count in to_delete.counts.items():
            if not count:
                continue
            rows = sql.SQL("SELECT t.* FROM {} AS t JOIN {} AS d ON {}").format(
                self._references.tables[table].rows,
                to_delete.relation(table),
                to_delete.identity(table).matches("t", "d"),
            )
            self._copies.add(table, rows)
            decided = any(one.speaks_for_all_rows for one in later.get(table, ()))
            if not decided and not to_delete.is_final(table):
                self._restored.remember(table, rows)
        for key in to_delete.cleared():
            self._remember_reference(key, to_delete.losing_parents(key))
        self._own.remember(to_delete, lost)

    def restore(self, staged: Mapping[str, Sequence[StagedTable]], effects: SideEffects) -> None:
        """Restore the rows that were deleted only temporarily, and the receiver's own data of them.

        Args:
            staged: Staged tables of all archives of the load, by name.
            effects: Whether the transaction suppresses side effects.

        Raises:
            LoadRefusedError: A constraint that only the receiver has prevents it.
        """
        try:
            self._connection.execute("SET CONSTRAINTS ALL DEFERRED")
            self._restored.put_back(staged)
            for table, kept in self._copies.items():
                if table in self._references.targets:
                    self._restore_columns(self._references.targets[table], kept)
            for key, relation in self._cleared.items():
                columns = self._references.cleared_columns(key)
                self._update(key.table, columns, relation, self._parent_is_there(key))
            self._own.restore(effects)
            self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.IntegrityError as error:
            between = violated_tables(error, self._references)
            raise refusal(error, between=between) from error

    def refuse_lost_references(self, number: int) -> None:
        """Refuse the load if rows without a key have lost references to rows that exist again.

        Call it after `restore`: before, nobody knows which rows do.

        Args:
            number: Number of the merge that deleted the rows, in order.

        Raises:
            LoadRefusedError: There is such a reference; the caller's transaction must not commit.
        """
        lost = [
            key.table
            for key, relation in self._unkeyed[number].items()
            if exists(
                self._connection,
                sql.SQL("{} AS k WHERE {}").format(relation, self._parent_is_there(key)),
            )
        ]
        table = lost[0] if lost else self._own.lost(number)
        if table is not None:
            raise LoadRefusedError(
                f"a late archive would delete and restore a row to which rows of {table}"
                " refer, and that table has no key by which the reference could be put back",
                remedy=f"give {table} a primary key, or wait for the next complete archive",
            )

    def lost(self) -> dict[str, int]:
        """Return how many rows are deleted in the end, by table."""
        counts = {}
        for table, relation in self._copies.items():
            facts = self._references.tables[table]
            if not facts.key:
                query = sql.SQL("SELECT count(*) FROM {}").format(relation)
            else:
                query = sql.SQL(
                    "SELECT count(*) FROM {} AS k WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {})"
                ).format(relation, facts.rows, facts.same_row("t", "k"))
            counts[table] = scalar(self._connection, query)
        return counts

    def _remember_reference(self, key: ForeignKey, children: sql.Composed) -> None:
        facts = self._references.tables[key.table]
        names = tuple(dict.fromkeys((*facts.key, *key.columns)))
        rows = sql.SQL("SELECT {} FROM {}").format(column_list(names, "c"), children)
        known, name = self._cleared, f"reference_{len(self._cleared)}"
        if not facts.key:
            known = self._unkeyed[-1]
            name = f"unkeyed_{len(self._unkeyed)}_{len(known)}"
        if key not in known:
            known[key] = self._copies.create(name, key.table, names)
        self._copies.insert(known[key], rows)

    def _restore_columns(self, target: TargetTable, kept: sql.Identifier) -> None:
        """Restore receiver-only columns, except derived ones: the transform computes those again.

        A reference among them is restored only if the row that it names exists.
        """
        if not target.key:
            return
        derived = {*target.rules.reset_on_change, *target.rules.clear_on_change}
        # PostgreSQL refuses to update such an identity: the row keeps the one of its insertion.
        derived |= {c.name for c in target.facts.columns if c.always_identity}
        restored = [name for name in target.receiver_only if name not in derived]
        references = [k for k in target.facts.foreign_keys if set(k.columns) & set(restored)]
        plain = [name for name in restored if not any(name in key.columns for key in references)]
        if plain:
            self._update(target.name, plain, kept, sql.SQL("true"))
        for key in references:
            names = [name for name in key.columns if name in restored]
            self._update(target.name, names, kept, self._parent_is_there(key))

    def _update(
        self, table: str, names: Sequence[str], kept: sql.Identifier, condition: sql.Composable
    ) -> None:
        facts = self._references.tables[table]
        self._connection.execute(
            sql.SQL("UPDATE {} AS t SET {} FROM {} AS k WHERE {} AND {}").format(
                facts.rows,
                assignments({name: sql.Identifier("k", name) for name in names}),
                kept,
                facts.same_row("t", "k"),
                condition,
            )
        )

    def _parent_is_there(self, key: ForeignKey) -> sql.Composed:
        """Return the condition that the row of a preserved reference exists, or it is NULL."""
        parents = self._references.tables[key.referenced_table].rows
        return sql.SQL("({} OR {})").format(
            any_null("k", key.columns), key.has_parent("k", parents)
        )
