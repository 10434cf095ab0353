"""Foreign keys of and to single partitions are checked with the rights that a load has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.merge.leaf_references import check_leaf_references
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, execute, rows

TABLES = """
CREATE TABLE t_a (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE t_a_1 PARTITION OF t_a FOR VALUES FROM (0) TO (100)
  PARTITION BY RANGE (id);
CREATE TABLE t_a_11 PARTITION OF t_a_1 FOR VALUES FROM (0) TO (50);
CREATE TABLE t_a_2 PARTITION OF t_a FOR VALUES FROM (100) TO (200);
CREATE TABLE t_b (id int PRIMARY KEY, a int) PARTITION BY RANGE (id);
CREATE TABLE t_b_1 PARTITION OF t_b FOR VALUES FROM (0) TO (100);
CREATE TABLE t_b_2 PARTITION OF t_b FOR VALUES FROM (100) TO (200);
ALTER TABLE t_b_1 ADD CONSTRAINT leaf_fkey FOREIGN KEY (a) REFERENCES t_a_1;
INSERT INTO t_a VALUES (1), (101);
INSERT INTO t_b VALUES (1, 1), (101, 999);
"""
LOST = "SET session_replication_role = replica; DELETE FROM t_a WHERE id = 1"


@pytest.fixture
def connection(database_factory: DatabaseFactory) -> Iterator[Connection]:
    """Return a session of a superuser, in a transaction that makes a role and is rolled back."""
    with (
        connect(database_factory(), application="test") as connection,
        connection.transaction(force_rollback=True),
    ):
        connection.execute("SET search_path = public")
        connection.execute(TABLES)
        connection.execute("CREATE ROLE ar_sync_leaf")
        connection.execute("GRANT USAGE ON SCHEMA public TO ar_sync_leaf")
        yield connection


def check(connection: Connection) -> None:
    tables = read_tables(connection, "public", lambda name: name == "t_b")
    check_leaf_references(connection, tables.values())


@pytest.mark.parametrize(
    "granted", ["t_a, t_b", "t_a_1, t_b_1", "ALL TABLES IN SCHEMA public"], ids=str
)
def test_right_on_the_partitioned_table_or_on_the_partition_is_enough(
    connection: Connection, granted: str
) -> None:
    connection.execute(f"GRANT SELECT ON {granted} TO ar_sync_leaf".encode())
    connection.execute("SET ROLE ar_sync_leaf")
    check(connection)
    connection.execute(f"RESET ROLE; {LOST}".encode())
    connection.execute("SET ROLE ar_sync_leaf")
    with pytest.raises(LoadRefusedError, match=r"t_b_1.* would refer by leaf_fkey"):
        check(connection)


def test_row_of_another_partition_is_no_parent(connection: Connection) -> None:
    connection.execute("GRANT SELECT ON t_a, t_b TO ar_sync_leaf")
    connection.execute(f"{LOST}; UPDATE t_b SET a = 101 WHERE id = 1".encode())
    connection.execute("SET ROLE ar_sync_leaf")
    with pytest.raises(LoadRefusedError, match="leaf_fkey"):
        check(connection)


def test_rows_that_inherit_from_the_parent_are_no_parents(connection: Connection) -> None:
    connection.execute(
        """
        CREATE TABLE t_p (id int PRIMARY KEY);
        CREATE TABLE t_heir () INHERITS (t_p);
        ALTER TABLE t_b_2 ADD CONSTRAINT plain_fkey FOREIGN KEY (a)
          REFERENCES t_p NOT VALID;
        """
    )
    connection.execute("SET session_replication_role = replica; UPDATE t_b SET a = 1;")
    connection.execute("INSERT INTO t_p VALUES (1)")
    connection.execute("ALTER TABLE t_b_2 VALIDATE CONSTRAINT plain_fkey")
    check(connection)
    connection.execute("DELETE FROM t_p; INSERT INTO t_heir VALUES (1)")
    with pytest.raises(LoadRefusedError, match="plain_fkey"):
        check(connection)


SHARED = (
    "CREATE TABLE t_a (id int, d int, v int, u int, PRIMARY KEY (id, d)) PARTITION BY RANGE (d)",
    "CREATE TABLE part_1 PARTITION OF t_a FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE part_2 PARTITION OF t_a FOR VALUES FROM (10) TO (20)",
    "ALTER TABLE part_1 ADD UNIQUE (id), ADD UNIQUE (u)",
)
OWN_ROWS = "SELECT n, c, u FROM own ORDER BY n"
CATALOG = {"name": "x", "tables": ["t_*"], "receiver_tables": ["own"]}


@pytest.fixture(params=["triggers fire", "role may not suppress"])
def sites(
    request: pytest.FixtureRequest, database_factory: DatabaseFactory, tmp_path: Path
) -> Iterator[TwoSites]:
    """Two servers; loads let the actions of the receiver's own keys take effect."""
    owner, rules = database_factory(), {"t_a": {"triggers": "fire"}}
    role = f"leaf of {owner.rpartition('/')[2]}"
    execute(owner, f'CREATE ROLE "{role}" LOGIN', *SHARED)
    execute(
        owner,
        "CREATE TABLE own (n int PRIMARY KEY, c int CONSTRAINT on_id REFERENCES part_1 (id)"
        " ON DELETE CASCADE, u int CONSTRAINT on_u REFERENCES part_1 (u) ON UPDATE SET NULL)",
        f'GRANT CREATE ON DATABASE "{owner.rpartition("/")[2]}" TO "{role}"',
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON t_a, own TO "{role}"',
    )
    sender, receiver = database_factory(), owner
    if request.param != "triggers fire":
        rules, receiver = {}, make_conninfo(owner, user=role)
    execute(sender, *SHARED, "INSERT INTO t_a SELECT g, g, g, g FROM generate_series(1, 19) g")
    sites = TwoSites(sender, receiver, Catalog.model_validate(CATALOG | {"table": rules}), tmp_path)
    sites.complete()
    sites.load()
    yield sites
    execute(owner, f'DROP OWNED BY "{role}" CASCADE', f'DROP ROLE "{role}"')


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("DELETE FROM t_a WHERE id = 3", "on_id"),
        ("UPDATE t_a SET d = 15 WHERE id = 3", "on_id"),
        ("UPDATE t_a SET u = 33 WHERE id = 3", "on_u"),
    ],
)
def test_action_of_a_key_to_one_partition_changes_no_row_of_the_receiver(
    sites: TwoSites, change: str, key: str
) -> None:
    sites.at_receiver("INSERT INTO own VALUES (1, 3, 3), (2, 4, NULL)")
    sites.at_sender(change)
    sites.complete()
    (refused,) = sites.load().refused
    assert f"refer by {key}, whose action would change them" in str(refused)
    assert rows(sites.receiver, OWN_ROWS) == [(1, 3, 3), (2, 4, None)]
    sites.at_receiver("UPDATE own SET c = 4, u = NULL")
    assert sites.load().loaded
    assert equal(sites, "SELECT * FROM t_a ORDER BY id")
    assert rows(sites.receiver, OWN_ROWS) == [(1, 4, None), (2, 4, None)]


def test_changes_that_no_action_concerns_are_loaded(sites: TwoSites) -> None:
    sites.at_receiver("INSERT INTO own VALUES (1, 3, 3)")
    sites.at_sender("UPDATE t_a SET v = 0 WHERE id = 3", "DELETE FROM t_a WHERE id IN (5, 13)")
    sites.complete()
    assert sites.load().loaded
    assert equal(sites, "SELECT * FROM t_a ORDER BY id")
    assert rows(sites.receiver, OWN_ROWS) == [(1, 3, 3)]


@pytest.mark.long
@pytest.mark.parametrize(
    ("own", "problem", "remedy"),
    [
        (
            (
                "CREATE TABLE own AS SELECT 3 AS c;"
                " ALTER TABLE own ADD CONSTRAINT leaf FOREIGN KEY (c) REFERENCES part_1 (id)"
            ),
            "these fire for replicated rows: t_a.quiet",
            "if this foreign key is one of or to a single partition",
        ),
        (
            "CREATE TRIGGER loud BEFORE DELETE ON t_a FOR EACH ROW EXECUTE FUNCTION loud()",
            "PL/pgSQL function loud()",
            "correct the function at the receiver",
        ),
    ],
)
def test_refusal_by_a_key_or_a_trigger_names_what_fires(
    database_factory: DatabaseFactory, tmp_path: Path, own: str, problem: str, remedy: str
) -> None:
    sender, receiver = database_factory(), database_factory()
    rules = {"t_a": {"triggers": "fire"}}
    sites = TwoSites(sender, receiver, Catalog.model_validate(CATALOG | {"table": rules}), tmp_path)
    sites.at_sender(*SHARED, "INSERT INTO t_a SELECT g, g, g, g FROM generate_series(1, 9) g")
    sites.at_receiver(
        *SHARED,
        "CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE foreign_key_violation USING MESSAGE = ''no such thing''; END'",
        "CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER quiet AFTER INSERT ON t_a FOR EACH ROW EXECUTE FUNCTION quiet()",
    )
    sites.complete()
    assert sites.load().loaded
    sites.at_receiver(own)
    sites.at_sender("DELETE FROM t_a WHERE id = 3")
    sites.complete()
    (refused,) = sites.load().refused
    assert problem in refused.problem
    assert refused.remedy.startswith(remedy)


@pytest.mark.long
@pytest.mark.parametrize("key", [" PRIMARY KEY", ""], ids=["with a key", "without"])
def test_first_rows_of_a_table_that_acts_with_a_partition_are_loaded(
    database_factory: DatabaseFactory, tmp_path: Path, key: str
) -> None:
    rules = {"t_a": {"triggers": "fire"}}
    catalog = Catalog.model_validate(CATALOG | {"table": rules})
    sites = TwoSites(database_factory(), database_factory(), catalog, tmp_path)
    child = f"CREATE TABLE t_c (n int{key}, c int)"
    leaf = (
        "ALTER TABLE t_c ADD CONSTRAINT leaf FOREIGN KEY (c) REFERENCES part_1 (id)"
        " ON DELETE CASCADE"
    )
    for at in (sites.at_receiver, sites.at_sender):
        at(*SHARED, child, leaf)
    sites.at_sender("INSERT INTO t_a SELECT g, g, g, g FROM generate_series(1, 19) g")
    sites.complete()
    sites.load()
    sites.at_sender("DELETE FROM t_a WHERE id = 3", "INSERT INTO t_c VALUES (1, 4)")
    sites.complete()
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_c ORDER BY n")
