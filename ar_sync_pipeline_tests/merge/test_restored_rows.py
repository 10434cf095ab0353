"""Rows that a merge has deleted are restored as far as the receiver's keys allow."""

from __future__ import annotations

import pytest
from psycopg import sql

from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.restored_rows import RestoredRows
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory


@pytest.mark.parametrize(
    ("key", "kept", "new", "restored"),
    [
        ("u int UNIQUE", "7", "7", False),
        ("u int UNIQUE", "7", "8", True),
        ("u int UNIQUE", "NULL", "NULL", True),
        ("u int, UNIQUE NULLS NOT DISTINCT (u)", "NULL", "NULL", False),
        ("u int, UNIQUE NULLS NOT DISTINCT (u)", "NULL", "7", True),
        ("u int, EXCLUDE (u WITH =) WHERE (u > 5)", "7", "7", False),
        ("u int, EXCLUDE (u WITH =) WHERE (u > 5)", "4", "4", True),
    ],
)
def test_row_is_restored_unless_another_row_has_its_unique_value(
    database_factory: DatabaseFactory, key: str, kept: str, new: str, *, restored: bool
) -> None:
    with connect(database_factory(), application="test") as connection, connection.transaction():
        if "NULLS NOT" in key and connection.info.server_version < 150000:
            pytest.skip("NULLS NOT DISTINCT is PostgreSQL 15's")
        connection.execute(sql.SQL(f"CREATE TABLE public.own (id int PRIMARY KEY, {key})"))
        connection.execute(sql.SQL(f"INSERT INTO public.own VALUES (1, {kept})"))
        tables = read_tables(connection, "public", lambda name: name == "own")
        rows = RestoredRows(connection, References(tables, {}))
        rows.remember("own", sql.SQL("SELECT * FROM {}").format(tables["own"].rows))
        connection.execute("DELETE FROM public.own")
        connection.execute(sql.SQL(f"INSERT INTO public.own VALUES (2, {new})"))
        rows.put_back({})
        found = connection.execute("SELECT id FROM public.own ORDER BY id").fetchall()
    assert found == ([(1,), (2,)] if restored else [(2,)])
