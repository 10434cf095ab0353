"""Types in a schema of their own, which a role may use only if it is told so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_roles import RoleScript
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    execute,
    recent_window,
    rows,
    watermark_of,
)

SCHEMA = '"My.Types"'
MASKS: dict[str, object] = {"email": {"constant": "x@y"}, "nick": "pseudonym"}
SECRET = "not a secret, since it is in a test"


def catalog(masks: dict[str, object], reset: str = "good") -> Catalog:
    rules = {"mask": masks, "receiver_columns": ["mood"], "reset_on_change": {"mood": reset}}
    return Catalog.model_validate({"name": "c", "tables": ["t_*"], "table": {"t_a": rules}})


@pytest.fixture
def owner(database_factory: DatabaseFactory, tmp_path: Path) -> TwoSites:
    sites = TwoSites(
        database_factory(), database_factory(), catalog(MASKS), tmp_path, pseudonym_key=SECRET
    )
    for url in (sites.sender, sites.receiver):
        execute(
            url,
            f"CREATE SCHEMA {SCHEMA}",
            f"CREATE EXTENSION citext SCHEMA {SCHEMA}",
            f"CREATE DOMAIN {SCHEMA}.mood AS text CHECK (VALUE IN ('good', 'bad'))",
            f"CREATE TABLE t_a (id int PRIMARY KEY, email {SCHEMA}.citext, nick {SCHEMA}.citext)",
        )
    sites.at_sender("INSERT INTO t_a VALUES (1, 'a@b', 'Ana')")
    sites.at_receiver(f"ALTER TABLE t_a ADD mood {SCHEMA}.mood")
    return sites


@pytest.fixture
def sites(owner: TwoSites, role_script: RoleScript) -> TwoSites:
    return replace(
        owner,
        sender=role_script("sender", owner.sender, tables="t_*"),
        receiver=role_script("receiver", owner.receiver, tables="t_*"),
    )


def revoke(owner: str, role_url: str) -> None:
    role = unquote(str(urlsplit(role_url).username))
    execute(owner, f'REVOKE USAGE ON SCHEMA {SCHEMA} FROM "{role}"')


def test_role_scripts_let_the_roles_use_the_types_of_the_tables(sites: TwoSites) -> None:
    assert check_sender(sites.sender, sites.catalog) == ()
    assert check_receiver(sites.receiver, sites.catalog) == ()
    sites.complete()
    assert sites.load().refused == ()
    found = rows(sites.receiver, "SELECT email::text, mood::text FROM t_a")
    assert found == [("x@y", "good")]


@pytest.mark.parametrize("masks", [{name: mask} for name, mask in MASKS.items()])
def test_mask_of_a_type_that_the_role_may_not_use_is_refused_with_the_grant(
    owner: TwoSites, sites: TwoSites, masks: dict[str, object]
) -> None:
    sites = replace(sites, catalog=catalog(masks))
    revoke(owner.sender, sites.sender)
    dumps: tuple[Callable[[], object], ...] = (
        sites.complete,
        lambda: sites.partial(recent_window()),
    )
    for dump in dumps:
        with pytest.raises(DatabaseRefusedError, match=r"may not use schema My\.Types") as caught:
            dump()
        assert caught.value.remedy.startswith(f"GRANT USAGE ON SCHEMA {SCHEMA} TO ")
    (found,) = check_sender(sites.sender, sites.catalog)
    assert found.problem == "schema My.Types gives this role no USAGE"
    execute(owner.sender, found.sql)
    sites.complete()


def test_type_that_no_statement_of_a_dump_names_needs_no_right(
    owner: TwoSites, sites: TwoSites
) -> None:
    sites = replace(sites, catalog=catalog({}))
    revoke(owner.sender, sites.sender)
    assert check_sender(sites.sender, sites.catalog) == ()
    sites.complete()
    assert sites.load().refused == ()


def test_receiver_that_may_not_use_the_type_of_a_column_says_so(
    owner: TwoSites, sites: TwoSites
) -> None:
    revoke(owner.receiver, sites.receiver)
    (found,) = check_receiver(sites.receiver, sites.catalog)
    assert found.problem == "schema My.Types gives this role no USAGE"
    sites.complete()
    (refused,) = sites.load().refused
    assert "My.Types" in str(refused)
    execute(owner.receiver, found.sql)
    assert sites.load().refused == ()


def test_value_that_a_domain_refuses_is_one_finding_among_the_others(sites: TwoSites) -> None:
    rules = catalog(MASKS, reset="wonderful").model_copy(update={"receiver_tables": ("absent",)})
    found = [one.problem for one in check_receiver(sites.receiver, rules)]
    assert found[0] == (
        "`reset_on_change` of table t_a gives mood the value 'wonderful', which is no"
        ' "My.Types".mood'
    )
    assert len(found) > 1


OWN_TYPES = (
    "ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC",
    f"CREATE TYPE {SCHEMA}.state AS ENUM ('a', 'b')",
    f"CREATE DOMAIN {SCHEMA}.plate AS text CHECK (VALUE <> '')",
    f"CREATE TYPE {SCHEMA}.pair AS (x int, y text)",
    f"CREATE TYPE {SCHEMA}.span AS RANGE (subtype = float8, multirange_type_name = {SCHEMA}.spans)",
)


@pytest.fixture
def hardened(database_factory: DatabaseFactory, tmp_path: Path) -> TwoSites:
    """Two servers where PUBLIC may not use the application's types."""
    rules = Catalog.model_validate({"name": "c", "tables": ["t_*"]})
    sites = TwoSites(database_factory(), database_factory(), rules, tmp_path)
    for url in (sites.sender, sites.receiver):
        execute(
            url,
            f"CREATE SCHEMA {SCHEMA}",
            *OWN_TYPES,
            f"CREATE TABLE t_a (id {SCHEMA}.plate PRIMARY KEY, s {SCHEMA}.state[], p {SCHEMA}.pair,"
            f" m {SCHEMA}.spans, d text)",
            f"CREATE TABLE t_b (s {SCHEMA}.state PRIMARY KEY, own {SCHEMA}.plate[])",
        )
    sites.at_sender(
        "INSERT INTO t_a VALUES ('p1', '{a,b}', '(1,y)', '{[1,2)}'), ('p2', '{b}', '(2,y)', NULL)",
        "INSERT INTO t_b VALUES ('a')",
    )
    return sites


def with_roles(hardened: TwoSites, role_script: RoleScript) -> TwoSites:
    """Return both sites with the roles of the scripts."""
    return replace(
        hardened,
        sender=role_script("sender", hardened.sender, tables="t_*"),
        receiver=role_script("receiver", hardened.receiver, tables="t_*"),
    )


@pytest.mark.long
def test_role_scripts_let_the_roles_use_types_that_public_may_not(
    hardened: TwoSites, role_script: RoleScript
) -> None:
    sites = with_roles(hardened, role_script)
    assert check_sender(sites.sender, sites.catalog) == ()
    assert check_receiver(sites.receiver, sites.catalog) == ()
    since = watermark_of(sites.complete())
    assert sites.load().refused == ()
    hardened.at_sender("UPDATE t_a SET d = 'x' WHERE id = 'p2'", "DELETE FROM t_b")
    sites.partial(recent_window(), since=since)
    assert sites.load().refused == ()
    sites.complete()
    assert sites.load().refused == ()
    for table in ("t_a", "t_b"):
        assert equal(hardened, f"SELECT * FROM {table} AS t ORDER BY t::text")


@pytest.mark.long
def test_types_that_a_role_may_not_use_are_said_as_statements_that_give_them(
    hardened: TwoSites, role_script: RoleScript
) -> None:
    sites = with_roles(hardened, role_script)
    for url, role in ((hardened.sender, sites.sender), (hardened.receiver, sites.receiver)):
        name = unquote(str(urlsplit(role).username))
        execute(url, f'REVOKE USAGE ON TYPE {SCHEMA}.state, {SCHEMA}.plate FROM "{name}"')
    since = watermark_of(sites.complete())
    with pytest.raises(DatabaseRefusedError, match="permission denied for type"):
        sites.partial(recent_window(), since=since)
    (refused,) = sites.load().refused
    assert "GRANT USAGE ON that type to the role" in str(refused)
    for url, role, check in (
        (hardened.sender, sites.sender, check_sender),
        (hardened.receiver, sites.receiver, check_receiver),
    ):
        found = check(role, sites.catalog)
        assert [one.problem for one in found] == [
            f"type {SCHEMA}.{one} gives this role no USAGE" for one in ("plate", "state")
        ]
        execute(url, *(one.sql for one in found))
        assert check(role, sites.catalog) == ()
    sites.partial(recent_window(), since=since)
    assert sites.load().refused == ()
