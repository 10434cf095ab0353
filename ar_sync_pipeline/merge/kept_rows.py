"""What the merges of one load delete only for a while, or only because they meet a newer state.

An older archive that comes late is applied with the later ones behind it, in one transaction. A
complete deletes what it lacks, and a partial the row whose unique value it gives to another, with
all that depends on them; a later archive may bring such a row back. But it comes back without the
columns that people set here, without the rows of the receiver's own tables that depended on it,
and without the shared rows that depended on it and that no later archive holds, as they have not
changed. So all of this is kept in temporary tables, and put back at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from ar_sync_pipeline.merge.deletion import DoomedRows
from ar_sync_pipeline.merge.load_tables import LoadTables
from ar_sync_pipeline.merge.returning_rows import ReturningRows
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.shipped_table import column_list
from ar_sync_pipeline.postgres.table_facts import ForeignKey


class KeptRows:
    """The rows that the merges of one load delete; each as it was before the first of them."""

    def __init__(self, tables: LoadTables) -> None:
        self._tables = tables
        self._rows: dict[str, sql.Identifier] = {}
        self._references: dict[ForeignKey, sql.Identifier] = {}
        self._returning = ReturningRows(tables)

    def remember(self, doomed: DoomedRows, *, final: bool) -> None:
        """Copy what is about to be deleted, and the references that are about to become NULL.

        Args:
            final: the archive is a complete: a shared row that it lacks comes back only if a
                later archive brings it.
        """
        for table, count in doomed.counts.items():
            if not count:
                continue
            rows = sql.SQL("SELECT t.* FROM {} AS t JOIN {} AS d ON {}").format(
                self._tables.named(table),
                doomed.keys(table),
                self._tables.same_row("t", "d", table),
            )
            self._copy(self._relation(table), rows)
            if table not in self._tables.targets or not final:
                self._returning.remember(table, rows)
        for key in doomed.cleared():
            self._copy(self._reference(key), doomed.references(key))

    def restore(self, staged: Mapping[str, Sequence[sql.Identifier]]) -> None:
        """Put back what only went for a while, and what is the receiver's own of it.

        Args:
            staged: by table, the staging tables of all archives of the load.

        Raises:
            LoadRefusedError: a constraint that only the receiver has stands in the way.
        """
        try:
            self._tables.connection.execute("SET CONSTRAINTS ALL DEFERRED")
            self._returning.put_back(staged)
            for table in self._rows:
                if table in self._tables.targets:
                    self._restore_columns(self._tables.targets[table])
            for key, relation in self._references.items():
                self._restore_reference(key, relation)
            self._tables.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.IntegrityError as error:
            raise LoadRefusedError(
                "the receiver's own rows cannot be put back behind a late archive"
                f" ({error.diag.message_primary})",
                remedy="wait for the next complete archive, or look for a constraint that only"
                " the receiver has",
            ) from error

    def lost(self) -> dict[str, int]:
        """Rows that are deleted in the end, by table."""
        counts = {}
        for table, relation in self._rows.items():
            query = sql.SQL(
                "SELECT count(*) FROM {} AS k WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {})"
            ).format(relation, self._tables.named(table), self._tables.same_row("t", "k", table))
            row = self._tables.connection.execute(query).fetchone()
            counts[table] = row[0] if row else 0
        return counts

    def _restore_columns(self, target: TargetTable) -> None:
        """Derived columns are left to the transform, which finds such a row untransformed.

        A reference among them is put back only if the row that it names is there.
        """
        derived = {*target.rules.reset_on_change, *target.rules.clear_on_change}
        own = [name for name in target.own if name not in derived]
        references = [k for k in target.facts.foreign_keys if set(k.columns) <= set(own)]
        plain = [name for name in own if not any(name in key.columns for key in references)]
        kept = self._rows[target.name]
        if plain:
            self._update(target.name, plain, kept, sql.SQL("true"))
        for key in references:
            self._update(target.name, key.columns, kept, self._parent_is_there(key))

    def _restore_reference(self, key: ForeignKey, relation: sql.Identifier) -> None:
        self._update(key.table, key.columns, relation, self._parent_is_there(key))

    def _update(
        self, table: str, names: Sequence[str], kept: sql.Identifier, condition: sql.Composable
    ) -> None:
        assignments = (
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("k", name))
            for name in names
        )
        self._tables.connection.execute(
            sql.SQL("UPDATE {} AS t SET {} FROM {} AS k WHERE {} AND {}").format(
                self._tables.named(table), sql.SQL(", ").join(assignments), kept,
                self._tables.same_row("t", "k", table), condition,
            )
        )  # fmt: skip

    def _parent_is_there(self, key: ForeignKey) -> sql.Composed:
        """The row that a kept reference names exists, or the reference names none."""
        equal = sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier("p", there), sql.Identifier("k", here))
            for here, there in zip(key.columns, key.referenced_columns, strict=True)
        )
        missing = sql.SQL(" OR ").join(
            sql.SQL("{} IS NULL").format(sql.Identifier("k", name)) for name in key.columns
        )
        return sql.SQL("({} OR EXISTS (SELECT FROM {} AS p WHERE {}))").format(
            missing, self._tables.named(key.referenced_table), equal
        )

    def _relation(self, table: str) -> sql.Identifier:
        if table not in self._rows:
            source = sql.SQL("SELECT * FROM {}").format(self._tables.named(table))
            name = f"ar_sync_kept_rows_{len(self._rows)}"
            self._rows[table] = self._tables.empty_copy(name, table, source)
        return self._rows[table]

    def _reference(self, key: ForeignKey) -> sql.Identifier:
        if key not in self._references:
            names = dict.fromkeys((*self._tables.facts[key.table].primary_key, *key.columns))
            source = sql.SQL("SELECT {} FROM {}").format(
                column_list(names), self._tables.named(key.table)
            )
            name = f"ar_sync_kept_references_{len(self._references)}"
            self._references[key] = self._tables.empty_copy(name, key.table, source)
        return self._references[key]

    def _copy(self, relation: sql.Identifier, query: sql.Composed) -> None:
        """The first copy counts: it is the state before the load."""
        self._tables.connection.execute(
            sql.SQL("INSERT INTO {} {} ON CONFLICT DO NOTHING").format(relation, query)
        )
