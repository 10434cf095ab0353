"""The rows that one merge deletes at the receiver, with all dependent rows.

Rows of receiver-only tables, or receiver-only columns of replicated tables, may refer to a row that
the sender no longer has. Such columns become NULL if they may; other dependent rows are deleted
too. So no constraint of the receiver is violated and no row refers to a missing row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import psycopg
from psycopg import sql

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.merge.archive_rows import ArchiveRows
from ar_sync_pipeline.merge.differences import is_staged
from ar_sync_pipeline.merge.errors import UnprovenDeletionError, remedy_of_transformed
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.row_identity import RowIdentity
from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.merge.source_values import same_source
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.sql_parts import FALSE, assignments
from ar_sync_pipeline.postgres.table_facts import ForeignKey


@dataclass
class RowsToDelete:
    """Identities of rows, in temporary tables by table name.

    Attributes:
        prefix: Prefix of the names of temporary tables.
        counts: Number of rows to delete, by table.
    """

    connection: Connection
    references: References
    archive: ArchiveRows
    prefix: str
    counts: dict[str, int] = field(default_factory=dict)
    _relations: dict[str, sql.Identifier] = field(default_factory=dict)

    @cached_property
    def staged(self) -> Mapping[str, StagedTable]:
        """Tables of the archive, by name."""
        return {staged.target.name: staged for staged in self.archive.tables}

    def add(self, table: str, identities: sql.Composable) -> int:
        """Add the rows that a query yields, and return how many were new."""
        statement = sql.SQL("INSERT INTO {} {} ON CONFLICT DO NOTHING")
        count = self.connection.execute(statement.format(self.relation(table), identities)).rowcount
        self.counts[table] = self.counts.get(table, 0) + count
        return count

    def add_dependents(self) -> None:
        """Add dependent rows of rows to delete, until there are no more.

        Raises:
            LoadRefusedError: A dependent row still exists, or may exist, at the sender.
            UnprovenDeletionError: The partial does not say whether it does.
        """
        pending = self.tables()
        while pending:
            self._lock(pending)
            pending = {
                key.table
                for table in pending
                for key in self.references.to(table)
                if not self.references.cleared_columns(key)
                and not self._keeps_shared_rows(key)
                and not self.references.may_have_orphans(key)
                and self._add_dependents(key)
            }
        # Last, because such a row may also depend by a key that both sides have.
        for table in sorted(self.tables()):
            for key in self.references.to(table):
                if self._keeps_shared_rows(key):
                    self._refuse_dependents(key)

    def _lock(self, tables: Iterable[str]) -> None:
        """Lock the rows to delete to which receiver-only columns may refer.

        Otherwise a transform could add such references after the dependents were found. In the
        order of the keys, as the transform locks its rows.
        """
        for table in sorted(tables):
            if not any(map(self.references.receiver_only_columns, self.references.to(table))):
                continue
            identity = self.identity(table)
            rows = sql.SQL("SELECT FROM {} AS t JOIN {} AS d ON {} ORDER BY {} FOR UPDATE OF t")
            locked = rows.format(
                self.references.tables[table].rows,
                self.relation(table),
                identity.matches("t", "d"),
                identity.stored_list("d"),
            )
            self.connection.execute(sql.SQL("SELECT count(*) FROM ({}) AS l").format(locked))

    def _keeps_shared_rows(self, key: ForeignKey) -> bool:
        """Return whether only the receiver has a key of a replicated table that cannot be NULL."""
        receiver_only = self.references.receiver_only_columns(key)
        return (
            bool(receiver_only)
            and key.table in self.references.targets
            and not self.references.cleared_columns(key)
        )

    def _refuse_dependents(self, key: ForeignKey) -> None:
        if not self.add(key.table, self._dependents(key)):
            return
        columns = ", ".join(self.references.receiver_only_columns(key))
        gone, wait = "that the sender deleted", ""
        if self.archive.complete:
            gone = "that this archive lacks, because the sender deleted them or added them later"
            wait = "wait for the next complete archive, which has what was added later; otherwise "
        raise LoadRefusedError(
            f"rows of {key.table}, which the sender has, refer in the receiver's {columns} by"
            f" {key.name} to rows of {key.referenced_table} {gone}, and {columns} cannot become"
            " NULL",
            remedy=f"{wait}let {columns} be NULL, or let these rows refer to others; the archive is"
            " tried again by itself",
        )

    def _add_dependents(self, key: ForeignKey) -> int:
        count = self.add(key.table, self._dependents(key))
        receiver_only = self.references.receiver_only_columns(key)
        known = self.references.sender_has(key)
        if count and (transformed := self.references.transformed_columns(key)):
            raise LoadRefusedError(
                f"rows of {key.table} refer in {', '.join(transformed)}, which the transform"
                f" changed, by {key.name} to rows of {key.referenced_table} that the sender"
                " deleted",
                remedy=remedy_of_transformed(key.name),
            )
        if count and not receiver_only and (self.archive.complete or not known):
            raise LoadRefusedError(
                f"rows of {key.table} exist at the sender and refer to deleted rows of"
                f" {key.referenced_table}, which the receiver's constraint {key.name}"
                " forbids",
                remedy=f"if {key.table} is the receiver's only, name it under `receiver_tables` of"
                f" the catalog; otherwise drop {key.name} at the receiver, or add it at the sender;"
                " the archive is then loaded by itself",
                between=(key.table, key.referenced_table) if known else (),
            )
        if count and not receiver_only and not self.archive.has_every_change(key.table):
            raise UnprovenDeletionError(
                f"a row of {key.table} refers here by {key.name} to a row of"
                f" {key.referenced_table} that the sender deleted",
                key.table,
                after_gap=self.archive.after_gap,
            )
        return count

    def tables(self) -> set[str]:
        """Return the tables that have rows to delete."""
        return {table for table, count in self.counts.items() if count}

    def is_final(self, table: str) -> bool:
        """Return whether the archive has all rows of a table, so that others are gone.

        A complete has none of a table that only the receiver has, or that the sender added later.
        """
        return table in self.staged and self.staged[table].speaks_for_all_rows

    def cleared(self) -> list[ForeignKey]:
        """Return the foreign keys by which receiver-only columns refer to rows to delete."""
        return [
            key
            for table in sorted(self.tables())
            for key in self.references.to(table)
            if self.references.cleared_columns(key)
        ]

    def count_cleared(self) -> dict[ForeignKey, int]:
        """Return how many references of receiver-only columns become NULL, by key, if any do."""
        query = sql.SQL("SELECT count(*) FROM {}")
        counts = {
            key: scalar(self.connection, query.format(self.losing_parents(key)))
            for key in self.cleared()
        }
        return {key: count for key, count in counts.items() if count}

    def clear_references(self, keys: Iterable[ForeignKey], effects: SideEffects) -> None:
        """Set the references to rows to delete to NULL.

        References to a receiver-only table follow by the server's own referential actions.

        Raises:
            LoadRefusedError: A constraint forbids NULL.
        """
        for key in keys:
            try:
                with effects.allowed(only_if=key.table not in self.references.targets):
                    self._clear(key)
            except psycopg.IntegrityError as error:
                constraint = printable(error.diag.constraint_name or "a constraint")
                raise LoadRefusedError(
                    f"rows of {key.table} refer by {key.name} to rows that the sender deleted, and"
                    f" {constraint} does not let the reference become NULL",
                    remedy=f"delete these rows at the receiver, or drop {constraint}; the archive"
                    " is tried again by itself",
                ) from error

    def _clear(self, key: ForeignKey) -> None:
        identity = self.identity(key.table)
        rows = sql.SQL("SELECT DISTINCT {} FROM {}").format(
            identity.values("c"), self.losing_parents(key)
        )
        self.connection.execute(
            sql.SQL("UPDATE {} AS u SET {} FROM ({}) AS c WHERE {}").format(
                self.references.tables[key.table].rows,
                assignments(dict.fromkeys(self.references.cleared_columns(key), sql.SQL("NULL"))),
                rows,
                identity.matches("u", "c"),
            )
        )

    def losing_parents(self, key: ForeignKey) -> sql.Composed:
        """Return the child rows ``c`` of rows to delete that have no other parent afterwards.

        Without those that only their place identifies and that are deleted, too: what an update
        has moved is not found again.
        """
        query = sql.SQL("{} WHERE NOT {}").format(
            self.references.joined(key, self.relation(key.referenced_table)),
            self.has_staged_parent(key),
        )
        if not self.identity(key.table).by_place or key.table not in self.tables():
            return query
        return sql.SQL("{} AND NOT {}").format(query, self.is_deleted(key.table, "c"))

    def with_staged_parents(self, key: ForeignKey) -> sql.Composed:
        """Return the child rows ``c`` of rows to delete whose value a row of the archive has."""
        return sql.SQL("{} WHERE {}").format(
            self.references.joined(key, self.relation(key.referenced_table)),
            self.has_staged_parent(key),
        )

    def is_deleted(self, table: str, alias: str) -> sql.Composed:
        """Return the condition that the row ``alias`` of a table is to be deleted."""
        return self.identity(table).is_in(alias, self.relation(table))

    def is_written_or_deleted(self, table: str, alias: str) -> sql.Composed:
        """Return the condition that the row ``alias`` of a table with a key does not stay."""
        staged = self.staged.get(table)
        deleted = self.is_deleted(table, alias)
        if staged is None:
            return deleted
        return sql.SQL("(EXISTS (SELECT FROM {} AS o WHERE {}) OR {})").format(
            staged.relation, staged.target.same_row("o", alias), deleted
        )

    def leave(self, table: str, identities: sql.Composable) -> None:
        """Take rows of a table out of those to delete."""
        statement = sql.SQL("DELETE FROM {} AS d USING {} AS s WHERE {}").format(
            self.relation(table), identities, self.identity(table).same("d", "s")
        )
        self.counts[table] -= self.connection.execute(statement).rowcount

    def movable(self) -> set[str]:
        """Return the tables whose rows to delete are lost if they are updated before."""
        return {table for table in self.tables() if self.identity(table).by_place}

    def has_staged_parent(self, key: ForeignKey) -> sql.Composed:
        """Return the condition that the child ``c`` refers to values of a row of this archive.

        A row that takes the place of a deleted one may have the same referenced values.
        """
        staged = self.staged.get(key.referenced_table)
        sent = {*staged.target.shared} - {*staged.target.transformed} if staged else set[str]()
        if staged is None or not sent.issuperset(key.referenced_columns):
            return FALSE
        parents: list[sql.Composable] = [staged.relation]
        if key.period and staged.target.key:
            # A row that stays may contain the rest of the child's period.
            parents.append(
                sql.SQL(
                    "(SELECT * FROM {} AS r WHERE NOT {} AND NOT EXISTS"
                    " (SELECT FROM {} AS o WHERE {}))"
                ).format(
                    staged.target.rows,
                    self.is_deleted(key.referenced_table, "r"),
                    staged.relation,
                    staged.target.same_row("o", "r"),
                )
            )
        return key.has_parent("c", *parents)

    def statements(self, tables: set[str]) -> list[sql.Composed]:
        """Return the statements that delete the rows of some tables."""
        return [
            sql.SQL("DELETE FROM {} AS t USING {} AS d WHERE {}").format(
                self.references.tables[table].rows,
                self.relation(table),
                self.identity(table).matches("t", "d"),
            )
            for table in sorted(self.tables() & tables)
        ]

    def delete_source_values(self) -> None:
        """Delete the stored sender's values of transformed columns of rows to delete."""
        for table in self.tables() & self.references.targets.keys():
            target = self.references.targets[table]
            if target.transformed:
                self.connection.execute(
                    sql.SQL("DELETE FROM {} AS s USING {} AS d WHERE {}").format(
                        target.source_values,
                        self.relation(table),
                        same_source(target, "d", "s", target.identity.stored),
                    )
                )

    def identity(self, table: str) -> RowIdentity:
        """Return the identity of the rows of a table."""
        return self.references.identity(table)

    def relation(self, table: str) -> sql.Identifier:
        """Return the temporary table of a table's identities."""
        if table not in self._relations:
            name = f"{self.prefix}_{len(self._relations)}"
            rows = self.references.tables[table].rows
            self._relations[table] = self.identity(table).create(self.connection, name, rows)
        return self._relations[table]

    def _dependents(self, key: ForeignKey) -> sql.Composed:
        """Return rows that refer to rows to delete and that this archive does not write."""
        query = sql.SQL("SELECT DISTINCT {} FROM {}").format(
            self.identity(key.table).values("c"), self.losing_parents(key)
        )
        staged = self.staged.get(key.table)
        if staged is None or self.references.receiver_only_columns(key):
            return query
        return sql.SQL("SELECT * FROM ({}) AS k WHERE NOT {}").format(query, is_staged(staged, "k"))
