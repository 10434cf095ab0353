"""Foreign keys in a merge that writes without the server's own checks.

In replica mode PostgreSQL checks no foreign key and performs no referential action. So the merge
itself performs the actions of receiver-only references for updates (``ON UPDATE CASCADE``, ``SET
NULL``), for all rows at once, so that exchanged values reach the right rows. Before it commits, it
checks that no row refers to a missing row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.merge.differences import CHANGE, REPLACE, WRITTEN, TableDifference
from ar_sync_pipeline.merge.errors import GRANT
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.rows_to_delete import RowsToDelete
from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.merge.target_table import row_of
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.sql_parts import assignments, column_list, exists
from ar_sync_pipeline.postgres.table_facts import Action, ForeignKey

_SAME_IF_EQUAL = re.compile(r"smallint|integer|bigint|uuid|boolean|date|timestamp.*|oid")
_SILENCE = "take `triggers` of the table out of the receiver's catalog"


@dataclass
class ReferenceChecks:
    """The foreign keys that a merge may break.

    Attributes:
        differences: Differences by table.
        prefix: Prefix of the names of temporary tables, unique within the transaction.
        checked_by_server: Foreign keys that were restored after the rows: schema, table, name.
    """

    connection: Connection
    references: References
    differences: Mapping[str, TableDifference]
    to_delete: RowsToDelete
    prefix: str
    checked_by_server: frozenset[tuple[str, str, str]] = frozenset()
    _left: dict[tuple[str, tuple[str, ...]], sql.Identifier] = field(default_factory=dict)
    _followers: dict[ForeignKey, sql.Identifier] = field(default_factory=dict)
    _stored: dict[ForeignKey, sql.Identifier] = field(default_factory=dict)

    def remember(self) -> None:
        """Store the referenced values that rows are about to lose; call it before any write."""
        for table in {*self.differences, *self.to_delete.tables()}:
            for key in self.references.to(table):
                place = (table, key.referenced_columns)
                queries = [] if place in self._left else self._lost_values(key)
                if queries:
                    self._left[place] = self._create(len(self._left), queries)

    def remember_followers(self) -> None:
        """Store references of replicated rows that ON UPDATE actions will change.

        The archive already has their values. Call it before any write.
        """
        for key, left in self._acting():
            if not self.references.receiver_only_columns(key):
                identity = self.references.identity(key.table)
                query = sql.SQL("SELECT DISTINCT {}, {} FROM {} WHERE l.kept").format(
                    identity.values("c"), _named("c", key.columns, "v"), self._referring(key, left)
                )
                name = f"{self.prefix}_followers_{len(self._followers)}"
                self._followers[key] = identity.fill(self.connection, name, query)

    def remember_following(self, effects: SideEffects) -> None:
        """Store the rows that follow a parent whose triggers fire, with the value they have now.

        The server itself changes some of them, to values that others still have. Call it after
        references are cleared, which moves rows without a key, and before values are freed.
        """
        for key, left in self._following():
            if effects.suppressed and self._fires(effects, key.referenced_table):
                identity = self.references.identity(key.table)
                query = sql.SQL("SELECT {}, l.* FROM {} WHERE l.kept").format(
                    identity.values("c"), self._referring(key, left)
                )
                name = f"{self.prefix}_following_{len(self._stored)}"
                self._stored[key] = identity.fill(self.connection, name, query)

    def _fires(self, effects: SideEffects, table: str) -> bool:
        """Return whether the server acts on the rows that refer to a table."""
        target = self.references.targets.get(table)
        return effects.fires(target) if target else not effects.suppressed

    def refuse_actions_on_kept_references(self, effects: SideEffects) -> None:
        """Refuse to replace parents if an ``ON UPDATE`` action would change rows that keep theirs.

        ``ON DELETE`` actions find no such row: a parent's values are freed before it is deleted.
        But they find rows that are to become orphans.

        Raises:
            LoadRefusedError: Rows refer by such a key to a row that another row replaces.
        """
        for table in sorted(t for t in self.to_delete.tables() if self._fires(effects, t)):
            for key in self.references.to(table):
                orphans = key.on_delete.writes and self.references.may_have_orphans(key)
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

    def _leaves_orphans(self, key: ForeignKey) -> bool:
        """Return whether rows are to refer to deleted rows: neither deleted nor moved away."""
        conditions = [self.to_delete.losing_parents(key)]
        difference = self.differences.get(key.table)
        if key.table in self.to_delete.tables():
            conditions.append(sql.SQL("NOT {}").format(self.to_delete.is_deleted(key.table, "c")))
        if difference is not None and difference.changed and difference.target.key:
            moved = sql.SQL("NOT EXISTS (SELECT FROM {} AS m WHERE {} AND {} *<> {})").format(
                difference.staged.relation,
                difference.target.same_row("c", "m"),
                row_of(key.columns, "c"),
                row_of(key.columns, "m"),
            )
            conditions.append(moved)
        return exists(self.connection, sql.SQL(" AND ").join(conditions))

    def _keeps_references(self, key: ForeignKey) -> bool:
        """Return whether rows refer to replaced values, and the archive does not write theirs."""
        difference, written = self.differences.get(key.table), sql.SQL("false").format()
        receiver_only = self.references.receiver_only_columns(key)
        if difference is not None and difference.changed and not receiver_only:
            written = sql.SQL("EXISTS (SELECT FROM {} AS w WHERE {})").format(
                difference.relation, difference.identity.matches("c", "w")
            )
        rows = sql.SQL("{} WHERE {} AND NOT {}").format(
            self.references.joined(key, self.to_delete.relation(key.referenced_table)),
            self.to_delete.has_staged_parent(key),
            written,
        )
        return exists(self.connection, rows)

    def restore_followers(self) -> None:
        """Restore what ON UPDATE actions changed in rows that the merge does not write."""
        for key, followers in self._followers.items():
            identity = self.references.identity(key.table)
            difference = self.differences.get(key.table)
            self._rewrite_followers(key, followers, difference)
            written = sql.Composed([sql.SQL("false")])
            if difference is not None and difference.changed:
                written = sql.SQL("EXISTS (SELECT FROM {} AS d WHERE {})").format(
                    difference.relation, identity.same("f", "d")
                )
            self.connection.execute(
                sql.SQL("UPDATE {} AS c SET {} FROM {} AS f WHERE {} AND NOT {}").format(
                    self.references.tables[key.table].rows,
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
        self.connection.execute(
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
        for key, left in self._following():
            query = sql.SQL("SELECT count(*) FROM {} WHERE l.kept").format(
                self._referring(key, left)
            )
            counts[key.table] = counts.get(key.table, 0) + scalar(self.connection, query)
        return counts

    def follow(self, effects: SideEffects) -> None:
        """Perform the ``ON UPDATE`` actions of receiver-only references for changed values.

        References to a receiver-only table follow by the server's own referential actions.

        Raises:
            LoadRefusedError: A unique key of the receiver-only table prevents it.
        """
        for key, left in self._following():
            try:
                with effects.allowed(only_if=key.table not in self.references.targets):
                    self._follow(key, left)
            except psycopg.errors.UniqueViolation as error:
                constraint = printable(error.diag.constraint_name or "a unique key")
                raise LoadRefusedError(
                    f"rows of {key.table} follow by {key.name} values that change places, which"
                    f" {constraint} does not allow",
                    remedy=f"make {constraint} DEFERRABLE at the receiver; the archive is tried"
                    " again by itself",
                ) from error

    def _follow(self, key: ForeignKey, left: sql.Identifier) -> None:
        receiver_only = self.references.receiver_only_columns(key)
        same = sql.SQL("true").format()
        if key in self._stored:
            # Not those that the server has already changed.
            left, same = self._stored[key], self.references.identity(key.table).matches("c", "l")
        self.connection.execute(
            sql.SQL("UPDATE {} AS c SET {} FROM {} AS l WHERE l.kept AND {} AND {}").format(
                self.references.tables[key.table].rows,
                assignments({name: _followed(key, name) for name in receiver_only}),
                left,
                self._refers(key),
                same,
            )
        )

    def verify(self) -> None:
        """Check the foreign keys of written rows and of rows that referred to a lost value.

        Raises:
            LoadRefusedError: A referenced row is missing; the caller's transaction must not commit.
        """
        for table, difference in self.differences.items():
            if not difference.empty:
                for key in self.references.of(table):
                    if not self.references.may_have_orphans(key):
                        self._refuse_if(self._written_orphans(difference, key), key)
        for key in self._mixed_keys():
            self._refuse_if(self._orphans(key), key)
        for (table, columns), left in self._left.items():
            for key in self.references.to(table):
                if key.referenced_columns == columns and not self.references.may_have_orphans(key):
                    self._refuse_if(self._left_orphans(key, left), key)

    def _mixed_keys(self) -> list[ForeignKey]:
        """Return foreign keys to receiver-only columns of tables that the merge may write."""
        return [
            key
            for table, difference in self.differences.items()
            for key in self.references.to(table)
            if not set(key.referenced_columns) <= set(difference.target.shared)
        ]

    def _following(self) -> list[tuple[ForeignKey, sql.Identifier]]:
        return [
            (key, left)
            for key, left in self._acting()
            if self.references.receiver_only_columns(key)
        ]

    def _acting(self) -> list[tuple[ForeignKey, sql.Identifier]]:
        """Return foreign keys that act on a change of their parent, with the values that change."""
        return [
            (key, left)
            for (table, columns), left in self._left.items()
            for key in self.references.to(table)
            if key.referenced_columns == columns and key.on_update.writes
        ]

    def _lost_values(self, key: ForeignKey) -> list[sql.Composed]:
        """Return queries for lost values of parents: old, new, whether the row is preserved."""
        table, columns = key.referenced_table, key.referenced_columns
        parent = self.references.tables[table]
        old = _named("t", columns, "o")
        queries = []
        difference = self.differences.get(table)
        if difference is not None and difference.changed and self._may_change(key, difference):
            queries.append(
                sql.SQL(
                    "SELECT {}, {}, true AS kept FROM {} JOIN {} AS t ON {} WHERE {} *<> {}"
                ).format(
                    old,
                    _named("n", columns, "n"),
                    difference.rows((CHANGE, REPLACE)),
                    parent.rows,
                    difference.target.same_row("t", "n"),
                    row_of(columns, "t"),
                    row_of(columns, "n"),
                )
            )
        if self.to_delete.counts.get(table):
            queries.append(
                sql.SQL("SELECT {}, {}, false AS kept FROM {} AS t JOIN {} AS d ON {}").format(
                    old,
                    _named("t", columns, "n"),
                    parent.rows,
                    self.to_delete.relation(table),
                    self.to_delete.identity(table).matches("t", "d"),
                )
            )
        return queries

    def _may_change(self, key: ForeignKey, difference: TableDifference) -> bool:
        target = difference.target
        if not set(key.referenced_columns) <= set(target.shared):
            return False
        types = {column.name: column.type for column in target.columns}
        is_key = set(key.referenced_columns) <= set(target.key)
        exact = all(_SAME_IF_EQUAL.fullmatch(types[c]) for c in key.referenced_columns)
        return not (is_key and exact)

    def _create(self, number: int, queries: Sequence[sql.Composed]) -> sql.Identifier:
        relation = sql.Identifier("pg_temp", f"{self.prefix}_left_{number}")
        self.connection.execute(
            sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS {}").format(
                relation, sql.SQL(" UNION ALL ").join(queries)
            )
        )
        self.connection.execute(sql.SQL("ANALYZE {}").format(relation))
        return relation

    def _referring(self, key: ForeignKey, left: sql.Identifier) -> sql.Composed:
        return sql.SQL("{} AS c JOIN {} AS l ON {}").format(
            self.references.tables[key.table].rows, left, self._refers(key)
        )

    def _refers(self, key: ForeignKey) -> sql.Composed:
        """Return the condition that the child ``c`` refers to the old value of ``l``."""
        operators = key.operators or ("=",) * len(key.columns)
        return sql.SQL(" AND ").join(
            sql.SQL("{} {} {}").format(
                sql.Identifier("l", f"o{number}"), sql.SQL(operator), sql.Identifier("c", name)
            )
            for number, (name, operator) in enumerate(zip(key.columns, operators, strict=True), 1)
        )

    def _has_parent(self, key: ForeignKey, child: str) -> sql.Composed:
        return sql.SQL("EXISTS (SELECT FROM {} AS p WHERE {})").format(
            self.references.tables[key.referenced_table].rows, key.refers(child, "p")
        )

    def _left_orphans(self, key: ForeignKey, left: sql.Identifier) -> sql.Composed:
        """Return a query whether children that referred to a lost value are orphans.

        OFFSET keeps the planner from looking for the parents of all other children first.
        """
        return sql.SQL(
            "SELECT EXISTS (SELECT FROM (SELECT {} FROM {} OFFSET 0) AS c WHERE NOT {})"
        ).format(
            column_list(key.columns, "c"), self._referring(key, left), self._has_parent(key, "c")
        )

    def _written_orphans(self, difference: TableDifference, key: ForeignKey) -> sql.Composed:
        target = difference.target
        if {*key.columns} <= {*target.shared} - {*target.transformed}:
            # The archive's values are what was written; to find the rows in a large table costs
            # far more than all else that the check does.
            return self._orphans(key, difference.rows(WRITTEN), "n")
        source = sql.SQL("{} AS t").format(target.rows)
        if not difference.fills and target.key:
            source = sql.SQL("{} JOIN {} AS d ON {}").format(
                source, difference.relation, difference.identity.matches("t", "d")
            )
        return self._orphans(key, source)

    def _orphans(
        self, key: ForeignKey, source: sql.Composable | None = None, rows: str = "t"
    ) -> sql.Composed:
        """Return a query whether ``rows`` are orphans; by default all rows of the key's table."""
        if source is None:
            source = sql.SQL("{} AS t").format(self.references.tables[key.table].rows)
        nulls = [sql.SQL("{} IS NULL").format(sql.Identifier(rows, name)) for name in key.columns]
        any_null = sql.SQL("({})").format(sql.SQL(" OR ").join(nulls))
        orphan = sql.SQL("NOT {} AND NOT {}").format(any_null, self._has_parent(key, rows))
        if key.match_full and len(nulls) > 1:
            all_null = sql.SQL("({})").format(sql.SQL(" AND ").join(nulls))
            orphan = sql.SQL("({} OR {} AND NOT {})").format(orphan, any_null, all_null)
        return sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(source, orphan)

    def _refuse_if(self, query: sql.Composed, key: ForeignKey) -> None:
        facts = self.references.tables[key.table]
        if (*facts.place, key.name) in self.checked_by_server:
            return
        if scalar(self.connection, query):
            raise LoadRefusedError(
                f"rows of {key.table} would refer to rows of {key.referenced_table} that are not"
                f" there, which the receiver's constraint {key.name} forbids",
                remedy=self._remedy(key),
            )

    def _remedy(self, key: ForeignKey) -> str:
        if self.references.receiver_only_columns(key):
            return (
                f"let {key.name} cascade, or change or delete these rows at the receiver; the"
                " archive is tried again by itself"
            )
        if key.referenced_table not in self.references.targets:
            return (
                f"{key.referenced_table} is not replicated: replicate it, by `tables` and `exclude`"
                f" of both catalogs, or drop {key.name} at the receiver"
            )
        return (
            f"wait for the next complete archive; if {key.name} is not a constraint of the sender,"
            " drop it or let it cascade"
        )


def _followed(key: ForeignKey, column: str) -> sql.Composable:
    """Return the value of a column after the foreign key's ``ON UPDATE``."""
    if key.on_update is Action.CASCADE:
        return sql.Identifier("l", f"n{key.columns.index(column) + 1}")
    return sql.SQL("NULL" if key.on_update is Action.SET_NULL else "DEFAULT")


def _named(alias: str, columns: Sequence[str], prefix: str) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(sql.Identifier(alias, c), sql.Identifier(f"{prefix}{i}"))
        for i, c in enumerate(columns, 1)
    )
