"""Tables outside the catalog that foreign keys join with replicated ones, and the loading role."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.sync.watch.database_findings import check_receiver
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_roles import RoleScript
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, execute, rows

SHARED = (
    'CREATE SCHEMA "S"',
    'CREATE TABLE "S".users (id int PRIMARY KEY, secret text)',
    """INSERT INTO "S".users VALUES (1, 'x'), (2, 'y')""",
    (
        'CREATE TABLE t_a (id int, d int, u int REFERENCES "S".users, PRIMARY KEY (id, d))'
        " PARTITION BY RANGE (d)"
    ),
    "CREATE TABLE t_a_1 PARTITION OF t_a FOR VALUES FROM (0) TO (10)",
    "ALTER TABLE t_a_1 ADD UNIQUE (id)",
    "CREATE TABLE t_b (id int PRIMARY KEY, t text)",
)
OWN = (
    "ALTER TABLE t_b ADD lk int",
    'CREATE TABLE "S".other (id int PRIMARY KEY)',
    'CREATE TABLE "S".fav (n int PRIMARY KEY, b int REFERENCES t_b)',
    'CREATE TABLE "S".leaf (n int PRIMARY KEY, a int REFERENCES t_a_1 (id))',
    'CREATE TABLE own (n int PRIMARY KEY, b int REFERENCES t_b, u int REFERENCES "S".other)',
)
LOOKUP = (
    "CREATE TABLE look (id int PRIMARY KEY, word text)",
    "ALTER TABLE t_b ADD FOREIGN KEY (lk) REFERENCES look",
    "CREATE TABLE leaf_look (id int PRIMARY KEY)",
    "ALTER TABLE t_a_1 ADD FOREIGN KEY (id) REFERENCES leaf_look",
    "INSERT INTO leaf_look VALUES (1)",
    "CREATE TABLE later (n int PRIMARY KEY, b int REFERENCES t_b)",
)


@pytest.fixture
def owner(database_factory: DatabaseFactory, tmp_path: Path) -> TwoSites:
    rules = {
        "name": "c",
        "tables": ["t_*"],
        "receiver_tables": ["own"],
        "table": {"t_b": {"receiver_columns": ["lk"]}},
    }
    catalog = Catalog.model_validate(rules)
    sites = TwoSites(database_factory(), database_factory(), catalog, tmp_path)
    for url in (sites.sender, sites.receiver):
        execute(url, *SHARED)
    sites.at_receiver(*OWN)
    sites.at_sender("INSERT INTO t_a VALUES (1, 1, 1)", "INSERT INTO t_b VALUES (1), (2)")
    return sites


def loading(owner: TwoSites, role_script: RoleScript, suppress: str = "on") -> TwoSites:
    role = role_script(
        "receiver", owner.receiver, tables="t_*", receiver_tables="own", suppress=suppress
    )
    return replace(owner, receiver=role)


@pytest.mark.long
@pytest.mark.parametrize("suppress", ["on", "off"])
def test_receiver_role_reads_what_references_of_replicated_tables_name(
    owner: TwoSites, role_script: RoleScript, suppress: str
) -> None:
    sites = loading(owner, role_script, suppress)
    assert check_receiver(sites.receiver, sites.catalog) == ()
    sites.complete()
    assert sites.load().refused == ()
    owner.at_sender("DELETE FROM t_b WHERE id = 2", "UPDATE t_a SET u = 2")
    sites.complete()
    assert sites.load().refused == ()
    assert equal(owner, "SELECT * FROM t_a")
    assert equal(owner, "SELECT id FROM t_b")
    assert rows(sites.receiver, 'SELECT id FROM "S".users ORDER BY 1') == [(1,), (2,)]
    for hidden in ('SELECT secret FROM "S".users', 'SELECT id FROM "S".other'):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(sites.receiver, hidden)


@pytest.mark.long
def test_tables_of_a_later_migration_are_said_as_statements_that_let_the_role_read_them(
    owner: TwoSites, role_script: RoleScript
) -> None:
    sites = loading(owner, role_script)
    owner.at_receiver(*LOOKUP)
    found = check_receiver(sites.receiver, sites.catalog)
    assert [one.problem for one in found] == [
        "table later gives this role no SELECT",
        "column id of table leaf_look gives this role no SELECT",
        "column id of table look gives this role no SELECT",
    ]
    sites.complete()
    (refused,) = sites.load().refused
    assert "run the output of `ar-sync grants receiver`" in str(refused)
    execute(owner.receiver, *(one.sql for one in found))
    assert check_receiver(sites.receiver, sites.catalog) == ()
    assert sites.load().refused == ()
    assert loading(owner, role_script).receiver == sites.receiver
    assert check_receiver(sites.receiver, sites.catalog) == ()


@pytest.mark.long
def test_table_that_only_the_server_reads_needs_no_right(
    owner: TwoSites, role_script: RoleScript
) -> None:
    sites = loading(owner, role_script, suppress="off")
    owner.at_receiver(*LOOKUP[:2])
    assert check_receiver(sites.receiver, sites.catalog) == ()
    sites.complete()
    assert sites.load().refused == ()


@pytest.mark.long
def test_row_level_security_of_tables_that_a_load_reads_is_said_by_check_and_script(
    owner: TwoSites, role_script: RoleScript
) -> None:
    sites = loading(owner, role_script)
    sites.complete()
    assert sites.load().refused == ()
    hidden = ('"S".fav', '"S".users', "own")
    owner.at_receiver(
        *(f"ALTER TABLE {one} ENABLE ROW LEVEL SECURITY" for one in hidden),
        "CREATE POLICY mine ON own USING (n = 1)",
    )
    owner.at_sender("DELETE FROM t_b WHERE id = 2")
    sites.complete()
    (refused,) = sites.load().refused
    assert "row-level security" in str(refused)
    found = check_receiver(sites.receiver, sites.catalog)
    assert [one.problem.partition("hides")[0] for one in found] == [
        "table S.fav ",
        "table S.users ",
        "table own ",
    ]
    assert " security (none: every row is hidden)" in found[0].problem
    assert "(mine)" in found[2].problem
    tables = {"tables": "t_*", "receiver_tables": "own"}
    warning = 'security may hide rows from this role: "S".fav, public.own, "S".users'
    role_script("receiver", owner.receiver, warning=warning, **tables)
    execute(owner.receiver, found[0].sql)
    assert check_receiver(sites.receiver, sites.catalog) == ()
    assert sites.load().refused == ()


PARTS = (
    "CREATE TABLE parts (n int PRIMARY KEY, b int) PARTITION BY RANGE (n)",
    "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10)",
)
OF_ALL = "ALTER TABLE parts ADD FOREIGN KEY (b) REFERENCES t_b"
OF_ONE = "ALTER TABLE parts_1 ADD FOREIGN KEY (b) REFERENCES t_b"


@pytest.mark.long
@pytest.mark.parametrize(
    ("key", "readable", "closed", "found"),
    [
        (OF_ALL, ("parts",), "parts", ["parts"]),
        (OF_ALL, ("parts",), "parts_1", []),
        (OF_ONE, ("parts",), "parts", ["parts"]),
        (OF_ONE, ("parts",), "parts_1", []),
        (OF_ONE, ("parts", "parts_1"), "parts_1", ["parts_1"]),
        (OF_ONE, ("parts", "parts_1"), "parts", []),
    ],
)
def test_row_level_security_counts_of_the_table_through_which_a_load_reads(
    owner: TwoSites,
    role_script: RoleScript,
    key: str,
    readable: tuple[str, ...],
    closed: str,
    found: list[str],
) -> None:
    sites = loading(owner, role_script)
    role = unquote(urlsplit(sites.receiver).username or "")
    owner.at_receiver(*PARTS, key, *(f'GRANT SELECT ON {name} TO "{role}"' for name in readable))
    sites.complete()
    assert sites.load().refused == ()
    owner.at_receiver(f"ALTER TABLE {closed} ENABLE ROW LEVEL SECURITY")
    problems = [one.problem for one in check_receiver(sites.receiver, sites.catalog)]
    assert [one.partition(" hides")[0] for one in problems] == [f"table {name}" for name in found]
    owner.at_sender("DELETE FROM t_b WHERE id = 2")
    sites.complete()
    refused = sites.load().refused
    assert ["row-level security" in str(one) for one in refused] == [True] * len(found)


@pytest.mark.long
def test_receiver_role_reads_what_an_own_key_that_is_not_valid_names(
    owner: TwoSites, role_script: RoleScript
) -> None:
    """Only one that is NOT VALID at the sender, too, is not verified."""
    owner.at_receiver(
        LOOKUP[0], "ALTER TABLE t_b ADD CONSTRAINT k FOREIGN KEY (lk) REFERENCES look NOT VALID"
    )
    sites = loading(owner, role_script)
    sites.complete()
    assert sites.load().refused == ()
