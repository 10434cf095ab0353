"""Foreign keys of the receiver: which of them are receiver-only, and which rows they join."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.merge.errors import (
    or_disable,
    remedy_of_own_reference,
    remedy_of_transformed,
)
from ar_sync_pipeline.merge.row_identity import RowIdentity, identity_of
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.table_facts import ForeignKey, TableFacts


@dataclass(frozen=True)
class References:
    """The foreign keys between a receiver's tables.

    Attributes:
        tables: Every table of the receiver, by name.
        targets: Replicated tables, by name.
        of_sender: Foreign keys of the sender, as `reference_definitions`; None: unknown.
    """

    tables: Mapping[str, TableFacts]
    targets: Mapping[str, TargetTable]
    of_sender: frozenset[str] | None = None

    def as_archived(
        self, targets: Iterable[TargetTable], of_sender: frozenset[str] | None
    ) -> References:
        """Return a copy that uses what archives say of some tables and of foreign keys."""
        known = {target.name: target for target in targets}
        facts = {name: target.facts for name, target in known.items()}
        return References({**self.tables, **facts}, {**self.targets, **known}, of_sender)

    def to(self, table: str) -> list[ForeignKey]:
        """Return the foreign keys that refer to a table."""
        return [
            key
            for facts in self.tables.values()
            for key in facts.foreign_keys
            if key.referenced_table == table
        ]

    def of(self, table: str) -> list[ForeignKey]:
        """Return the foreign keys of a table whose parents are known."""
        return [k for k in self.tables[table].foreign_keys if k.referenced_table in self.tables]

    def sender_has(self, key: ForeignKey) -> bool:
        """Return whether the sender has a foreign key, or may have it."""
        return self.of_sender is None or key.definition in self.of_sender

    def may_have_orphans(self, key: ForeignKey) -> bool:
        """Return whether the sender may have orphans of a key: it is NOT VALID on both servers.

        The archive decides which rows exist: the receiver takes orphans, as it took earlier ones.
        A key that is NOT VALID at the receiver alone permits none.
        """
        on_purpose = not key.validated and key.not_valid in (self.of_sender or ())
        return on_purpose and not self.receiver_only_columns(key)

    def receiver_only_columns(self, key: ForeignKey) -> tuple[str, ...]:
        """Return the columns of a foreign key that the sender does not write.

        A foreign key is receiver-only if it has any. Of a key that mixes shared and receiver-only
        columns, only the latter may be changed at the receiver.
        """
        target = self.targets.get(key.table)
        shared = set(target.shared) if target else set[str]()
        # The sender's values determine what is computed from them alone.
        shared |= {
            c.name
            for c in self.tables[key.table].columns
            if c.generated and c.computed_from and shared.issuperset(c.computed_from)
        }
        return tuple(name for name in key.columns if name not in shared)

    def missing_parents(self, key: ForeignKey, *, changes: bool) -> LoadRefusedError:
        """Return the error of rows of a foreign key's table whose referenced row is not there.

        Args:
            changes: Whether the sender may have changed the values to which they refer.
        """
        own = self.receiver_only_columns(key)
        return LoadRefusedError(
            f"rows of {key.table} would refer to rows of {key.referenced_table} that are not"
            f" there, which the receiver's constraint {key.name} forbids",
            remedy=self._remedy_of_missing_parents(key, own, changes=changes),
            between=() if own else (key.table, key.referenced_table),
        )

    def _remedy_of_missing_parents(
        self, key: ForeignKey, own: Sequence[str], *, changes: bool
    ) -> str:
        child, is_outside = self.tables[key.table], key.referenced_table not in self.targets
        if own and is_outside and key.table in self.targets:
            return (
                f"insert the row of {key.referenced_table} to which the default or"
                f" `reset_on_change` of {', '.join(own)} refers, or change that value; the archive"
                " is tried again by itself"
            )
        if own:
            return remedy_of_own_reference(key, child, changes=changes)
        if is_outside:
            return (
                f"{key.referenced_table} is not replicated: replicate it, by `tables` and `exclude`"
                f" of both catalogs, or drop {key.name} at the receiver"
            )
        if self.transformed_columns(key):
            return remedy_of_transformed(key.name)
        return (
            f"wait for the next complete archive; if {key.name} is not a constraint of the sender,"
            f" drop it{or_disable(child)}"
        )

    def transformed_columns(self, key: ForeignKey) -> tuple[str, ...]:
        """Return the columns of a foreign key that the transform changes in place.

        To which row the sender's row refers is not known by them.
        """
        target = self.targets.get(key.table)
        return tuple(name for name in key.columns if target and name in target.transformed)

    def cleared_columns(self, key: ForeignKey) -> tuple[str, ...]:
        """Return the columns that may be set to NULL to remove a reference; empty if none may."""
        facts = self.tables[key.table]
        columns = [facts.column(name) for name in self.receiver_only_columns(key)]
        free = tuple(
            c.name
            for c in columns
            if c is not None
            and c.nullable
            and not c.generated
            and (not key.cleared or c.name in key.cleared)
        )
        return free if not key.match_full or len(free) == len(key.columns) else ()

    def joined(self, key: ForeignKey, parents: sql.Composable) -> sql.Composed:
        """Return the join of child rows ``c`` and their parents ``p`` among identities ``d``."""
        child, parent = self.tables[key.table], self.tables[key.referenced_table]
        return sql.SQL("{} AS c JOIN {} AS p ON {} JOIN {} AS d ON {}").format(
            child.rows,
            parent.rows,
            key.refers("c", "p"),
            parents,
            self.identity(key.referenced_table).matches("p", "d"),
        )

    def identity(self, table: str) -> RowIdentity:
        """Return the identity of the rows of a table."""
        target = self.targets.get(table)
        return identity_of(target.facts if target else self.tables[table])
