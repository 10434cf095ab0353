"""Merging a staged archive into the receiver's tables, inside one transaction.

Order: find the differences, delete with all that depends, set aside rows whose unique values
move, then write parents before children. Unchanged rows are never touched, the receiver's own
columns keep their values, and the result is compared with the archive's digests before commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg import sql

from ar_sync_pipeline.merge.deletion import DoomedRows
from ar_sync_pipeline.merge.differences import (
    TableDifference,
    absent_rows,
    count_drift,
    displaced_rows,
    find_differences,
)
from ar_sync_pipeline.merge.filling import rebuilt_behind
from ar_sync_pipeline.merge.row_writing import set_rows_aside, write_rows
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.table_facts import TableFacts


@dataclass(frozen=True)
class TablePlan:
    """What a merge does to one table, in rows.

    Attributes:
        shipped: whether the archive brings the table; False for tables that only lose rows that
            depended on deleted ones.
        drift: of the added and changed rows of a complete, those that had not been written since
            the point that the receiver was known to have: what partials should have brought; None
            in a partial, and where the complete cannot tell.
    """

    table: str
    shipped: bool
    added: int
    changed: int
    deleted: int
    row_count: int
    drift: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain values, for the ledger and for metadata."""
        return asdict(self)


@dataclass(frozen=True)
class Merge:
    """A computed merge, not yet carried out."""

    connection: Connection
    differences: Sequence[TableDifference]
    doomed: DoomedRows

    def plan(self, later: Mapping[str, Sequence[sql.Identifier]]) -> list[TablePlan]:
        """Rows to add, change and delete, by table.

        Args:
            later: by table, the staging tables of the archives that are applied behind this one.
        """
        plans = [
            TablePlan(
                difference.staged.target.name,
                shipped=True,
                added=difference.added,
                changed=difference.changed,
                deleted=self.doomed.counts.get(difference.staged.target.name, 0),
                row_count=difference.staged.manifest.row_count,
                drift=count_drift(
                    self.connection, difference, later.get(difference.staged.target.name, ())
                ),
            )
            for difference in self.differences
        ]
        named = {plan.table for plan in plans}
        return plans + [
            TablePlan(table, shipped=False, added=0, changed=0, deleted=count, row_count=0)
            for table, count in sorted(self.doomed.counts.items())
            if count and table not in named
        ]

    def carry_out(self) -> None:
        """Write the differences.

        Raises:
            LoadRefusedError: a constraint of the receiver refuses the rows.
        """
        try:
            self.connection.execute("SET CONSTRAINTS ALL DEFERRED")
            with rebuilt_behind(self.connection, self.differences):
                self.doomed.delete()
                for difference in self.differences:
                    set_rows_aside(self.connection, difference)
                for difference in self.differences:
                    write_rows(self.connection, difference)
                self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.IntegrityError as error:
            raise LoadRefusedError(
                f"the receiver refuses the archive's rows ({error.diag.message_primary};"
                f" {error.diag.message_detail or 'no detail'})",
                remedy="wait for the next complete archive, or look for a constraint that only"
                " the receiver has",
            ) from error


def compute_merge(
    connection: Connection,
    schema: str,
    tables: Mapping[str, TableFacts],
    targets: Mapping[str, TargetTable],
    staged: Sequence[StagedTable],
    prefix: str,
    *,
    loose: bool,
) -> Merge:
    """Find out what staged tables change; writes nothing but temporary tables.

    Args:
        tables: every table of the receiver's schema.
        targets: the travelling tables.
        staged: parents before children.
        prefix: of the temporary tables' names, unique within the transaction.
        loose: archives before this one are missing. A row that it contradicts may then be alive at
            the sender, and what is the receiver's own of it must not go.

    Raises:
        LoadRefusedError: a loose archive gives a unique value of one row to another.
    """
    differences = [
        find_differences(connection, table, f"{prefix}_{number}")
        for number, table in enumerate(staged)
    ]
    doomed = DoomedRows(
        connection,
        schema,
        tables,
        targets,
        {table.target.name: table for table in staged},
        f"{prefix}_doomed",
    )
    for difference in differences:
        table = difference.staged
        if table.complete and not table.wholly_settled:
            doomed.doom(table.target.name, absent_rows(table))
        if not difference.empty:
            for query in displaced_rows(difference):
                if doomed.doom(table.target.name, query) and loose:
                    raise _contradiction(table.target.name)
    doomed.cascade()
    return Merge(connection, differences, doomed)


def _contradiction(table: str) -> LoadRefusedError:
    return LoadRefusedError(
        f"a row of {table} takes over a unique value, and what became of the row that had it"
        " was in an archive that is missing",
        remedy="nothing; the next archive that covers the hole brings both",
    )
