"""Foreign keys of and to single partitions are checked with the rights that a load has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ar_sync_pipeline.merge.leaf_references import check_leaf_references
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory

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
