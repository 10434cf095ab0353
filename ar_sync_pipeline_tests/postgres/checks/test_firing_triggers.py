"""Triggers of single partitions, and rules, are named where loads fire them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg.conninfo import make_conninfo

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.sync.watch.database_findings import check_receiver
from ar_sync_pipeline_tests.fix_sites import execute

CATALOG = Catalog.model_validate({"name": "x", "tables": ["t_*"]})
TABLES = (
    "CREATE TABLE t_a (id int PRIMARY KEY) PARTITION BY RANGE (id)",
    "CREATE TABLE part_1 PARTITION OF t_a FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (id)",
    "CREATE TABLE part_11 PARTITION OF part_1 FOR VALUES FROM (0) TO (5)",
    "CREATE TABLE part_2 PARTITION OF t_a FOR VALUES FROM (9) TO (19)",
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
)


def trigger(name: str, table: str, each: str = "ROW") -> str:
    return f"CREATE TRIGGER {name} AFTER INSERT ON {table} FOR EACH {each} EXECUTE FUNCTION f()"


@pytest.fixture
def owner(empty_database: str) -> str:
    execute(empty_database, *TABLES)
    return empty_database


@pytest.fixture
def loader(owner: str) -> Iterator[str]:
    """Yield the URL of a role that cannot suppress triggers."""
    database = owner.rpartition("/")[2]
    role = f"fires of {database}"
    execute(
        owner,
        f'CREATE ROLE "{role}" LOGIN',
        f'GRANT CREATE ON DATABASE "{database}" TO "{role}"',
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON t_a TO "{role}"',
    )
    yield make_conninfo(owner, user=role)
    execute(owner, f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


def triggers_of(url: str) -> tuple[str, ...]:
    with connect(url, application="test") as connection:
        (facts,) = read_tables(connection, "public", lambda name: name == "t_a").values()
    return facts.triggers


@pytest.mark.parametrize("partition", ["part_11", "part_2"])
def test_trigger_of_a_partition_is_named_until_the_role_may_suppress_it(
    owner: str, loader: str, partition: str
) -> None:
    execute(owner, trigger("stamp", partition))
    (finding,) = check_receiver(loader, CATALOG)
    what = f"t_a fires its triggers for replicated rows (stamp of {partition})"
    assert finding.problem == f"table {what}"
    assert triggers_of(owner) == (f"{partition}.stamp",)
    execute(owner, f"ALTER TABLE {partition} DISABLE TRIGGER stamp")
    assert not triggers_of(owner) + check_receiver(loader, CATALOG)


def test_trigger_of_the_partitioned_table_is_named_once(owner: str, loader: str) -> None:
    execute(owner, trigger("stamp", "t_a"))
    (finding,) = check_receiver(loader, CATALOG)
    assert finding.problem.endswith("(stamp)")
    assert triggers_of(owner) == ("stamp",)


@pytest.mark.parametrize("table", ["t_a", "part_2"])
def test_trigger_that_one_partition_fires_always_is_silenced_by_the_remedy(
    owner: str, table: str
) -> None:
    execute(owner, trigger("stamp", table), "ALTER TABLE part_2 ENABLE ALWAYS TRIGGER stamp")
    (finding,) = check_receiver(owner, CATALOG)
    assert "ENABLE ALWAYS or REPLICA for replicated rows (stamp of part_2)" in finding.problem
    execute(owner, finding.sql)
    assert check_receiver(owner, CATALOG) == ()


def test_statement_trigger_of_a_partition_does_not_fire_by_the_partitioned_table(
    owner: str, loader: str
) -> None:
    execute(owner, trigger("stamp", "part_2", "STATEMENT"))
    assert not triggers_of(owner) + check_receiver(loader, CATALOG)


def test_rules_are_named_as_triggers_are(owner: str, loader: str) -> None:
    execute(
        owner,
        "CREATE TABLE t_b (id int PRIMARY KEY)",
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON t_b TO "fires of {owner.rpartition("/")[2]}"',
        "CREATE RULE kept AS ON DELETE TO t_b DO INSTEAD NOTHING",
    )
    (finding,) = check_receiver(loader, CATALOG)
    assert finding.problem == "table t_b fires its rules for replicated rows (kept)"
    assert check_receiver(owner, CATALOG) == ()
    execute(owner, "ALTER TABLE t_b ENABLE ALWAYS RULE kept")
    (always,) = check_receiver(owner, CATALOG)
    execute(owner, always.sql)
    assert check_receiver(owner, CATALOG) == ()
