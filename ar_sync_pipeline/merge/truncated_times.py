"""Times that were replicated as JSON and lost their microseconds (old system, D20).

The partials of the old sender truncate every time to milliseconds. If the receiver already has the
row and its time is equal after truncation to milliseconds, it is the same time with more precision.
Its microseconds are restored before the rows are compared: such a row does not count as changed.
"""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.connect import Connection

_TIME = "timestamp"


def as_truncated(target: TargetTable, alias: str) -> dict[str, sql.Composable]:
    """Return the times of a table outside its key as such a partial has them, by column."""
    return {
        column.name: sql.SQL("pg_catalog.date_trunc('milliseconds', {})").format(
            sql.Identifier(alias, column.name)
        )
        for column in target.columns
        if column.type.startswith(_TIME) and column.name not in target.key
    }


def give_back_microseconds(connection: Connection, staged: StagedTable) -> None:
    """Replace staged times by the receiver's if these are equal to the millisecond."""
    target = staged.target
    held_times = as_truncated(target, "t")
    if not held_times:
        return
    assignments = [
        sql.SQL("{column} = CASE WHEN {truncated} = {sent} THEN {held} ELSE {sent} END").format(
            column=sql.Identifier(name),
            truncated=truncated,
            held=sql.Identifier("t", name),
            sent=sql.Identifier("n", name),
        )
        for name, truncated in held_times.items()
    ]
    connection.execute(
        sql.SQL("UPDATE {} AS n SET {} FROM {} AS t WHERE {}").format(
            staged.relation,
            sql.SQL(", ").join(assignments),
            target.rows,
            target.same_row("t", "n"),
        )
    )
