"""Tables without a key: compared as bags of whole rows.

Such a table is always exported whole. Rows that both sides have equally often are not written;
missing rows are inserted, surplus rows are deleted. Rows are compared by the text of their shared
columns, which differs wherever their bytes differ.
"""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.postgres.row_image import row_image
from ar_sync_pipeline.postgres.sql_parts import column_list


def keyless_new_rows(staged: StagedTable) -> sql.Composed:
    """Return places of the staged rows that the target lacks, with the action to add them."""
    return sql.SQL(
        "SELECT {}, 'a'::text AS action FROM {} WHERE NOT EXISTS (SELECT FROM {} WHERE {})"
    ).format(
        staged.target.identity.stored_list("n"),
        _numbered(staged, staged.relation, "n"),
        _numbered(staged, staged.target.rows, "t"),
        _SAME,
    )


def keyless_absent_rows(staged: StagedTable) -> sql.Composed:
    """Return places of the target's rows that were not staged."""
    return sql.SQL("SELECT {} FROM {} WHERE NOT EXISTS (SELECT FROM {} WHERE {})").format(
        staged.target.identity.stored_list("t"),
        _numbered(staged, staged.target.rows, "t"),
        _numbered(staged, staged.relation, "n"),
        _SAME,
    )


_SAME = sql.SQL("t.image = n.image AND t.copy = n.copy")


def _numbered(staged: StagedTable, rows: sql.Composable, alias: str) -> sql.Composed:
    """Return every row with its place, its image, and its number among the rows of this image."""
    return sql.SQL(
        "(SELECT {place}, {image} AS image, pg_catalog.row_number() OVER"
        " (PARTITION BY {image} ORDER BY x.tableoid, x.ctid) AS copy"
        " FROM {rows} AS x) AS {alias}"
    ).format(
        place=staged.target.identity.values("x"),
        image=row_image(sql.SQL("ROW({})").format(column_list(staged.target.shared, "x"))),
        rows=rows,
        alias=sql.Identifier(alias),
    )
