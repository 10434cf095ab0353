"""Images of rows, by which rows of one database are compared."""

from __future__ import annotations

from psycopg import sql


def row_image(row: sql.Composable) -> sql.Composed:
    """Return the sha256 of a row's text, which differs wherever the bytes of the row differ.

    A server in FIPS mode refuses ``md5``.

    Args:
        row: The row, such as ``ROW(t.a, t.b)``.
    """
    return sql.SQL(
        "pg_catalog.sha256(pg_catalog.convert_to(({})::text, pg_catalog.getdatabaseencoding()))"
    ).format(row)
