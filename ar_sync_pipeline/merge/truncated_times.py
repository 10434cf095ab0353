"""Times that were replicated as JSON and lost their microseconds (old system, D20).

The partials of the old sender truncate every time to milliseconds. If the receiver already has the
row and its time is equal after truncation to milliseconds, it is the same time with more precision.
Its microseconds are restored before the rows are compared: such a row does not count as changed.
"""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.postgres.connect import Connection

_TIME = "timestamp"


def give_back_microseconds(connection: Connection, staged: StagedTable) -> None:
    """Replace staged times by the receiver's if these are equal to the millisecond."""
    target = staged.target
    names = [
        column.name
        for column in target.columns
        if column.type.startswith(_TIME) and column.name not in target.key
    ]
    if not names:
        return
    assignments = [
        sql.SQL(
            "{column} = CASE WHEN pg_catalog.date_trunc('milliseconds', {held}) = {sent}"
            " THEN {held} ELSE {sent} END"
        ).format(
            column=sql.Identifier(name),
            held=sql.Identifier("t", name),
            sent=sql.Identifier("n", name),
        )
        for name in names
    ]
    connection.execute(
        sql.SQL("UPDATE {} AS n SET {} FROM {} AS t WHERE {}").format(
            staged.relation,
            sql.SQL(", ").join(assignments),
            target.rows,
            target.same_row("t", "n"),
        )
    )
