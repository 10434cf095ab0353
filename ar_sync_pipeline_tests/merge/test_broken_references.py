"""References that the server refuses where the load's role may not suppress its checks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_roles import RoleScript
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, execute

SHARED = (
    "CREATE TABLE users (id int PRIMARY KEY)",
    "INSERT INTO users VALUES (1)",
    "CREATE TABLE t_a (id int, u int REFERENCES users, PRIMARY KEY (id)) PARTITION BY RANGE (id)",
    "CREATE TABLE t_a_1 PARTITION OF t_a FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE t_b (id int PRIMARY KEY)",
)
OWN = (
    "CREATE TABLE look (id int PRIMARY KEY)",
    "ALTER TABLE t_b ADD lk int DEFAULT 7",
    "CREATE TABLE own (n int PRIMARY KEY, a int CONSTRAINT of_leaf REFERENCES t_a_1)",
)
LOOKUP = "ALTER TABLE t_b ADD CONSTRAINT of_lk FOREIGN KEY (lk) REFERENCES look"


@pytest.fixture(params=["on", "off"])
def sites(
    database_factory: DatabaseFactory,
    tmp_path: Path,
    role_script: RoleScript,
    request: pytest.FixtureRequest,
) -> tuple[TwoSites, TwoSites]:
    """Two servers as their owners reach them, and as the loading role does."""
    rules = {"name": "c", "tables": ["t_*"], "table": {"t_b": {"receiver_columns": ["lk"]}}}
    catalog = Catalog.model_validate(rules)
    owner = TwoSites(database_factory(), database_factory(), catalog, tmp_path)
    for url in (owner.sender, owner.receiver):
        execute(url, *SHARED)
    owner.at_receiver(*OWN)
    owner.at_sender("INSERT INTO t_a VALUES (1, 1), (2, 1)")
    role = role_script("receiver", owner.receiver, tables="t_*", suppress=request.param)
    loading = replace(owner, receiver=role)
    loading.complete()
    assert loading.load().refused == ()
    return owner, loading


def refusal_of(sites: TwoSites) -> str:
    sites.complete()
    return str(sites.load().refused[0])


@pytest.mark.long
def test_missing_row_of_a_table_that_is_not_replicated_is_named(
    sites: tuple[TwoSites, TwoSites],
) -> None:
    owner, loading = sites
    owner.at_sender("INSERT INTO users VALUES (2)", "UPDATE t_a SET u = 2 WHERE id = 2")
    for deferrable in ("NOT DEFERRABLE", "DEFERRABLE"):
        owner.at_receiver(f"ALTER TABLE t_a ALTER CONSTRAINT t_a_u_fkey {deferrable}")
        said = refusal_of(loading)
        assert "rows of t_a would refer to rows of users that are not there" in said
        assert "users is not replicated: replicate it" in said
        assert "DEFERRABLE" not in said
    owner.at_receiver("ALTER TABLE t_a DROP CONSTRAINT t_a_u_fkey")
    loading.load()
    assert equal(owner, "SELECT * FROM t_a ORDER BY id")


@pytest.mark.long
def test_default_that_refers_to_no_row_is_not_called_a_change_of_the_sender(
    sites: tuple[TwoSites, TwoSites],
) -> None:
    owner, loading = sites
    owner.at_receiver(LOOKUP, f'GRANT SELECT ON look TO "{_role(loading)}"')
    owner.at_sender("INSERT INTO t_b VALUES (1)")
    said = refusal_of(loading)
    assert "rows of t_b would refer to rows of look that are not there" in said
    assert "insert the row of look to which the default or `reset_on_change` of lk refers" in said
    owner.at_receiver("INSERT INTO look VALUES (7)")
    assert loading.load().refused == ()


@pytest.mark.long
def test_row_that_a_key_to_a_single_partition_names_is_not_blamed_on_its_deferral(
    sites: tuple[TwoSites, TwoSites],
) -> None:
    owner, loading = sites
    owner.at_receiver("INSERT INTO own VALUES (1, 2)")
    owner.at_sender("DELETE FROM t_a WHERE id = 2")
    said = refusal_of(loading)
    assert "of_leaf" in said
    assert "declare this foreign key between" in said or "declare it between" in said
    assert "GRANT SET" not in said
    owner.at_receiver("DELETE FROM own")
    loading.load()
    assert equal(owner, "SELECT * FROM t_a ORDER BY id")


def _role(sites: TwoSites) -> str:
    return unquote(str(urlsplit(sites.receiver).username))
