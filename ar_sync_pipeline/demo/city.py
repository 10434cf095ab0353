"""Fake data of a city's buses for the sender: all 24 tables, about 100,000 rows."""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from ar_sync_pipeline.demo.fake_data import install_fake_data


def fill_city(connection: psycopg.Connection[TupleRow], *, now: datetime, seed: int = 1) -> int:
    """Fill an empty sender database; the same seed and time give the same rows.

    Everything happens in one transaction, that of the caller if there is one.

    Args:
        connection: Connection to a database made by ``create_sender_schema``.
        now: Time of the newest row, aware; most rows are from the thirty days before.
        seed: Seed of the data; another seed gives another city of the same size.

    Returns:
        The number of rows.
    """
    with connection.transaction():
        install_fake_data(connection, now=now, seed=seed)
        connection.execute(files("ar_sync_pipeline.demo").joinpath("city.sql").read_bytes())
        return sum(_advance_sequence(connection, table) for table in _tables(connection))


def correct_city(connection: psycopg.Connection[TupleRow]) -> None:
    """Correct the reports that name a missing picture, or whose text cannot be parsed.

    A receiver warns of them; a live demo starts without warnings.
    """
    connection.execute(
        'UPDATE "AndroidRequests_report" SET "imageName" = NULL'
        " WHERE starts_with(\"imageName\", 'lost-')"
    )
    connection.execute(
        'UPDATE "AndroidRequests_report" AS bad SET "reportInfo" = good."reportInfo"'
        ' FROM "AndroidRequests_report" AS good WHERE good.id = bad.id - 1 AND bad.id % 100 = 13'
    )


def _tables(connection: psycopg.Connection[TupleRow]) -> list[str]:
    rows = connection.execute(
        "SELECT tablename FROM pg_tables"
        " WHERE schemaname = current_schema() AND tablename LIKE 'AndroidRequests\\_%'"
    )
    return [table for (table,) in rows]


def _advance_sequence(connection: psycopg.Connection[TupleRow], table: str) -> int:
    """Advance the sequence of a table, if it has one; return the number of rows."""
    # Not pg_get_serial_sequence(): three sequences are not owned by their column.
    query = sql.SQL("SELECT setval(to_regclass({}), max(id)), count(*) FROM {}").format(
        sql.Literal(f'"{table}_id_seq"'), sql.Identifier(table)
    )
    if table == "AndroidRequests_event":
        query = sql.SQL("SELECT NULL, count(*) FROM {}").format(sql.Identifier(table))
    row = connection.execute(query).fetchone()
    return int(row[1]) if row else 0
