"""Checks of foreign keys after a merge that writes without the server's own checks.

In replica mode PostgreSQL checks no foreign key. Before the merge commits, no row may refer to a
missing row.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.merge.differences import WRITTEN, TableDifference
from ar_sync_pipeline.merge.lost_values import LostValues, may_have_changed
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.sql_parts import any_null, column_list, is_null
from ar_sync_pipeline.postgres.table_facts import ForeignKey


@dataclass(frozen=True)
class OrphanChecks:
    """The foreign keys that a merge may break.

    Attributes:
        lost: Referenced values that rows have lost.
        checked_by_server: Foreign keys that were restored after the rows: schema, table, name.
    """

    lost: LostValues
    checked_by_server: frozenset[tuple[str, str, str]]

    def verify(self) -> None:
        """Check the foreign keys of written rows and of rows that referred to a lost value.

        Raises:
            LoadRefusedError: A referenced row is missing; the caller's transaction must not commit.
        """
        for table, difference in self.lost.differences.items():
            if not difference.empty:
                for key in self.lost.references.of(table):
                    if not self.lost.references.may_have_orphans(key):
                        self._refuse_if(self._written_orphans(difference, key), key)
        for key in self._mixed_keys():
            self._refuse_if(self._orphans(key), key)
        for key, lost in self.lost.referenced():
            self._refuse_lost_orphans(key, lost)

    def verify_actions(self) -> None:
        """Check the foreign keys whose actions the server has performed.

        A trigger or rule of the child may have kept the row as it was, and PostgreSQL does not look
        again.

        Raises:
            LoadRefusedError: A referenced row is missing; the caller's transaction must not commit.
        """
        for key, lost in self.lost.referenced():
            child = self.lost.references.tables[key.table]
            acts = key.on_delete.writes or key.on_update.writes
            if acts and child.triggers:
                self._refuse_lost_orphans(key, lost)

    def _refuse_lost_orphans(self, key: ForeignKey, lost: sql.Identifier) -> None:
        if not self.lost.references.may_have_orphans(key):
            self._refuse_if(self._lost_orphans(key, lost), key)

    def _mixed_keys(self) -> list[ForeignKey]:
        """Return foreign keys to receiver-only columns of tables that the merge may write."""
        return [
            key
            for table, difference in self.lost.differences.items()
            for key in self.lost.references.to(table)
            if not set(key.referenced_columns) <= set(difference.target.shared)
        ]

    def _has_parent(self, key: ForeignKey, child: str) -> sql.Composed:
        return key.has_parent(child, self.lost.references.tables[key.referenced_table].rows)

    def _lost_orphans(self, key: ForeignKey, lost: sql.Identifier) -> sql.Composed:
        """Return a query whether children that referred to a lost value are orphans.

        OFFSET keeps the planner from looking for the parents of all other children first.
        """
        return sql.SQL(
            "SELECT EXISTS (SELECT FROM (SELECT {} FROM {} OFFSET 0) AS c WHERE NOT {})"
        ).format(
            column_list(key.columns, "c"),
            self.lost.referring(key, lost),
            self._has_parent(key, "c"),
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
            source = sql.SQL("{} AS t").format(self.lost.references.tables[key.table].rows)
        incomplete = any_null(rows, key.columns)
        orphan = sql.SQL("NOT {} AND NOT {}").format(incomplete, self._has_parent(key, rows))
        if key.match_full and len(key.columns) > 1:
            nulls = (is_null(rows, name) for name in key.columns)
            all_null = sql.SQL("({})").format(sql.SQL(" AND ").join(nulls))
            orphan = sql.SQL("({} OR {} AND NOT {})").format(orphan, incomplete, all_null)
        return sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(source, orphan)

    def _refuse_if(self, query: sql.Composed, key: ForeignKey) -> None:
        facts = self.lost.references.tables[key.table]
        if (*facts.place, key.name) in self.checked_by_server:
            return
        if scalar(self.lost.connection, query):
            changes = may_have_changed(key, self.lost.differences, self.lost.to_delete)
            raise self.lost.references.missing_parents(key, changes=changes)
