"""Rows that a merge has deleted are restored as far as the receiver's keys allow."""

from __future__ import annotations

import pytest
from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.restored_rows import RestoredRows
from ar_sync_pipeline.merge.target_table import replicated_tables
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


@pytest.mark.parametrize(
    ("validity", "of_sender", "own", "restored"),
    [
        ("", {"t_b (a) -> t_a (id) NOT VALID"}, [], False),
        ("NOT VALID", {"t_b (a) -> t_a (id) NOT VALID"}, [], True),
        ("NOT VALID", {"t_b (a) -> t_a (id)"}, [], False),
        ("NOT VALID", {"t_b (a) -> t_a (id) NOT VALID"}, ["a"], False),
    ],
)
def test_shared_orphan_of_a_key_that_is_not_valid_on_both_servers_is_restored(
    database_factory: DatabaseFactory,
    validity: str,
    of_sender: set[str],
    own: list[str],
    *,
    restored: bool,
) -> None:
    rules = {"t_b": {"receiver_columns": own}} if own else {}
    catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"], "table": rules})
    with connect(database_factory(), application="test") as connection, connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("CREATE TABLE public.t_a (id int PRIMARY KEY)")
        connection.execute("CREATE TABLE public.t_b (id int PRIMARY KEY, a int NOT NULL)")
        connection.execute(
            sql.SQL(f"ALTER TABLE public.t_b ADD FOREIGN KEY (a) REFERENCES public.t_a {validity}")
        )
        connection.execute("INSERT INTO public.t_b VALUES (1, 404)")
        tables = read_tables(connection, "public", catalog.replicates)
        targets = replicated_tables(catalog, tables)
        rows = RestoredRows(connection, References(tables, targets, frozenset(of_sender)))
        rows.remember("t_b", sql.SQL("SELECT * FROM {}").format(tables["t_b"].rows))
        connection.execute("DELETE FROM public.t_b")
        rows.put_back({})
        found = connection.execute("SELECT id, a FROM public.t_b").fetchall()
    assert found == ([(1, 404)] if restored else [])
