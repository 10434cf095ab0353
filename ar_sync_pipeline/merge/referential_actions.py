"""Referential actions in a merge: those that it performs itself, and those that it must prevent.

In replica mode PostgreSQL performs none. So the merge performs the actions of receiver-only
references for updates (``ON UPDATE CASCADE``, ``SET NULL``), for all rows at once, so that
exchanged values reach the right rows. Otherwise the server performs all of them, also those that
would change values of the archive.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.merge.differences import TableDifference
from ar_sync_pipeline.merge.errors import GRANT
from ar_sync_pipeline.merge.lost_values import LostValues, named
from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.merge.target_table import row_of
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.sql_parts import FALSE, TRUE, assignments, exists
from ar_sync_pipeline.postgres.table_facts import Action, ForeignKey

_SILENCE = "take `triggers` of the table out of the receiver's catalog"


@dataclass(frozen=True)
class ReferentialActions:
    """The referential actions that a merge may cause.

    Attributes:
        lost: Referenced values that rows are about to lose.
    """

    lost: LostValues
    _followers: dict[ForeignKey, sql.Identifier] = field(default_factory=dict)
    _stored: dict[ForeignKey, sql.Identifier] = field(default_factory=dict)

    def remember_followers(self) -> None:
        """Store references of replicated rows that ON UPDATE actions will change.

        The archive already has their values. Call it before any write.
        """
        for key, lost in self.lost.acting():
            if not self.lost.references.receiver_only_columns(key):
                identity = self.lost.references.identity(key.table)
                query = sql.SQL("SELECT DISTINCT {}, {} FROM {} WHERE l.kept").format(
                    identity.values("c"),
                    named("c", key.columns, "v"),
                    self.lost.referring(key, lost),
                )
                name = f"{self.lost.prefix}_followers_{len(self._followers)}"
                self._followers[key] = identity.fill(self.lost.connection, name, query)

    def remember_following(self, effects: SideEffects) -> None:
        """Store the rows that follow a parent whose triggers fire, with the value they have now.

        The server itself changes some of them, to values that others still have. Call it after
        references are cleared, which moves rows without a key, and before values are freed.
        """
        for key, lost in self.lost.following():
            if effects.suppressed and self._fires(effects, key.referenced_table):
                identity = self.lost.references.identity(key.table)
                query = sql.SQL("SELECT {}, l.* FROM {} WHERE l.kept").format(
                    identity.values("c"), self.lost.referring(key, lost)
                )
                name = f"{self.lost.prefix}_following_{len(self._stored)}"
                self._stored[key] = identity.fill(self.lost.connection, name, query)

    def refuse_actions_on_kept_references(self, effects: SideEffects) -> None:
        """Refuse to replace parents if an ``ON UPDATE`` action would change rows that keep theirs.

        ``ON DELETE`` actions find no such row: a parent's values are freed before it is deleted.
        But they find rows that are to become orphans.

        Raises:
            LoadRefusedError: Rows refer by such a key to a row that another row replaces.
        """
        for table in sorted(t for t in self.lost.to_delete.tables() if self._fires(effects, t)):
            for key in self.lost.references.to(table):
                orphans = key.on_delete.writes and self.lost.references.may_have_orphans(key)
                if orphans and self._leaves_orphans(key):
                    raise LoadRefusedError(
                        f"rows of {key.table} refer to rows of {table} that the sender does not"
                        f" have; {key.name} is NOT VALID, and its action would change them",
                        remedy=f"{_SILENCE if effects.suppressed else GRANT}, or drop {key.name} at"
                        " the receiver; the archive is tried again by itself",
                    )
                if effects.suppressed:
                    continue  # the value of a row that another replaces is freed silently
                if key.on_update.writes and self._keeps_references(key):
                    raise LoadRefusedError(
                        f"rows of {table} have another key at the sender and the values to which"
                        f" rows of {key.table} refer, which the action of {key.name} would change",
                        remedy=f"{GRANT}; the archive is tried again by itself",
                    )

    def _fires(self, effects: SideEffects, table: str) -> bool:
        """Return whether the server acts on the rows that refer to a table."""
        target = self.lost.references.targets.get(table)
        return effects.fires(target) if target else not effects.suppressed

    def _leaves_orphans(self, key: ForeignKey) -> bool:
        """Return whether rows are to refer to deleted rows: neither deleted nor moved away."""
        conditions = [self.lost.to_delete.losing_parents(key)]
        difference = self.lost.differences.get(key.table)
        if key.table in self.lost.to_delete.tables():
            conditions.append(
                sql.SQL("NOT {}").format(self.lost.to_delete.is_deleted(key.table, "c"))
            )
        if difference is not None and difference.changed and difference.target.key:
            moved = sql.SQL("NOT EXISTS (SELECT FROM {} AS m WHERE {} AND {} *<> {})").format(
                difference.staged.relation,
                difference.target.same_row("c", "m"),
                row_of(key.columns, "c"),
                row_of(key.columns, "m"),
            )
            conditions.append(moved)
        return exists(self.lost.connection, sql.SQL(" AND ").join(conditions))

    def _keeps_references(self, key: ForeignKey) -> bool:
        """Return whether rows refer to replaced values, and the archive does not write theirs."""
        difference, written = self.lost.differences.get(key.table), FALSE
        receiver_only = self.lost.references.receiver_only_columns(key)
        if difference is not None and difference.changed and not receiver_only:
            written = difference.identity.is_in("c", difference.relation)
        rows = sql.SQL("{} WHERE {} AND NOT {}").format(
            self.lost.references.joined(key, self.lost.to_delete.relation(key.referenced_table)),
            self.lost.to_delete.has_staged_parent(key),
            written,
        )
        return exists(self.lost.connection, rows)

    def restore_followers(self) -> None:
        """Restore what ON UPDATE actions changed in rows that the merge does not write."""
        for key, followers in self._followers.items():
            identity = self.lost.references.identity(key.table)
            difference = self.lost.differences.get(key.table)
            self._rewrite_followers(key, followers, difference)
            written = FALSE
            if difference is not None and difference.changed:
                written = identity.is_stored_in("f", difference.relation)
            self.lost.connection.execute(
                sql.SQL("UPDATE {} AS c SET {} FROM {} AS f WHERE {} AND NOT {}").format(
                    self.lost.references.tables[key.table].rows,
                    assignments(
                        {
                            name: sql.Identifier("f", f"v{number}")
                            for number, name in enumerate(key.columns, 1)
                        }
                    ),
                    followers,
                    identity.matches("c", "f"),
                    written,
                )
            )

    def _rewrite_followers(
        self, key: ForeignKey, followers: sql.Identifier, difference: TableDifference | None
    ) -> None:
        """Write the archive's values again to written rows that ON UPDATE actions changed."""
        if difference is None or not difference.changed or not difference.target.key:
            return
        target = difference.target
        self.lost.connection.execute(
            sql.SQL("UPDATE {} AS c SET {} FROM {} AS n JOIN {} AS f ON {} WHERE {} AND {}").format(
                target.rows,
                assignments({name: sql.Identifier("n", name) for name in key.columns}),
                difference.staged.relation,
                followers,
                difference.identity.matches("n", "f"),
                target.same_row("c", "n"),
                sql.SQL("{} *<> {}").format(row_of(key.columns, "c"), row_of(key.columns, "n")),
            )
        )

    def followers(self) -> dict[str, int]:
        """Return how many rows of receiver-only references follow a changed value, by table."""
        counts: dict[str, int] = {}
        for key, lost in self.lost.following():
            query = sql.SQL("SELECT count(*) FROM {} WHERE l.kept").format(
                self.lost.referring(key, lost)
            )
            counts[key.table] = counts.get(key.table, 0) + scalar(self.lost.connection, query)
        return counts

    def follow(self, effects: SideEffects) -> None:
        """Perform the ``ON UPDATE`` actions of receiver-only references for changed values.

        References to a receiver-only table follow by the server's own referential actions.

        Raises:
            LoadRefusedError: A unique key of the receiver-only table prevents it.
        """
        for key, lost in self.lost.following():
            try:
                with effects.allowed(only_if=key.table not in self.lost.references.targets):
                    self._follow(key, lost)
            except psycopg.errors.UniqueViolation as error:
                constraint = printable(error.diag.constraint_name or "a unique key")
                raise LoadRefusedError(
                    f"rows of {key.table} follow by {key.name} values that change places, which"
                    f" {constraint} does not allow",
                    remedy=f"make {constraint} DEFERRABLE at the receiver; the archive is tried"
                    " again by itself",
                ) from error

    def _follow(self, key: ForeignKey, lost: sql.Identifier) -> None:
        receiver_only = self.lost.references.receiver_only_columns(key)
        same = TRUE
        if key in self._stored:
            # Not those that the server has already changed.
            lost, same = (
                self._stored[key],
                self.lost.references.identity(key.table).matches("c", "l"),
            )
        self.lost.connection.execute(
            sql.SQL("UPDATE {} AS c SET {} FROM {} AS l WHERE l.kept AND {} AND {}").format(
                self.lost.references.tables[key.table].rows,
                assignments({name: _followed(key, name) for name in receiver_only}),
                lost,
                self.lost.refers(key),
                same,
            )
        )


def _followed(key: ForeignKey, column: str) -> sql.Composable:
    """Return the value of a column after the foreign key's ``ON UPDATE``."""
    if key.on_update is Action.CASCADE:
        return sql.Identifier("l", f"n{key.columns.index(column) + 1}")
    return sql.SQL("NULL" if key.on_update is Action.SET_NULL else "DEFAULT")
