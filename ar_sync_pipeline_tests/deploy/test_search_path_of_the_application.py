"""Functions of the application name others by its search path, which is not the product's.

The planner inlines the SQL functions of a table's indexes in every query on the table. PostgreSQL
skips a schema of the path that the role may not use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_roles import RoleScript
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, recent_window, rows, watermark_of
from ar_sync_pipeline_tests.open_sessions import session

ROWS = "SELECT id, name FROM t_a ORDER BY id"
MAY_USE = "SELECT has_schema_privilege('public', 'USAGE'), has_schema_privilege('Ext', 'USAGE')"
PATH = 'SET search_path = public, "Ext"'
BODIES = {
    "function": "SELECT helper($1)",
    "type": "SELECT $1::word",
    "table": "SELECT $1 || (SELECT count(*) FROM words)",
    "qualified": 'SELECT "Ext".helper($1)',
}


@pytest.fixture
def owner(database_factory: DatabaseFactory, tmp_path: Path) -> TwoSites:
    """Two servers whose application has its helpers in a schema of their own."""
    catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"]})
    sites = TwoSites(database_factory(), database_factory(), catalog, tmp_path)
    for url in (sites.sender, sites.receiver):
        execute(
            url,
            'CREATE SCHEMA "Ext"',
            'CREATE FUNCTION "Ext".helper(text) RETURNS text LANGUAGE sql IMMUTABLE'
            " AS 'SELECT lower($1)'",
            'CREATE DOMAIN "Ext".word AS text',
            'CREATE TABLE "Ext".words (word text)',
            "CREATE TABLE t_a (id int PRIMARY KEY, name text)",
        )
    sites.at_sender("INSERT INTO t_a VALUES (1, 'A'), (2, 'b')")
    return sites


def fold(url: str, body: str) -> None:
    """Give the table an index of a function that only the application's path resolves."""
    execute(
        url,
        f"{PATH};"
        f"CREATE FUNCTION fold(text) RETURNS text LANGUAGE sql IMMUTABLE AS $${body}$$;"
        "CREATE INDEX ON t_a (fold(name))",
    )


def as_application(url: str) -> str:
    """Return the URL of a session that has the search path by its connection alone."""
    return f"{url}?options=-c%20search_path%3Dpublic,%22Ext%22"


def set_path_of_database(url: str) -> None:
    execute(url, f'ALTER DATABASE "{urlsplit(url).path[1:]}" {PATH}')


def errors_of(check: Callable[[str, Catalog], tuple[Finding, ...]], sites: TwoSites) -> list[str]:
    url = sites.sender if check is check_sender else sites.receiver
    return [str(one) for one in check(url, sites.catalog) if one.level is Level.ERROR]


def prove_that_all_works(sites: TwoSites, owner: TwoSites) -> None:
    assert errors_of(check_sender, sites) == errors_of(check_receiver, sites) == []
    since = watermark_of(sites.complete())
    assert sites.load().refused == ()
    owner.at_sender(f"{PATH}; UPDATE t_a SET name = 'C' WHERE id = 1")
    sites.partial(recent_window(), since=since)
    assert sites.load().refused == ()
    assert rows(as_application(owner.receiver), ROWS) == [(1, "C"), (2, "b")]


@pytest.fixture
def by_roles(owner: TwoSites, role_script: RoleScript) -> Callable[[], TwoSites]:
    """Run the role scripts; returns the pair that uses the roles."""
    return lambda: replace(
        owner,
        sender=role_script("sender", owner.sender, tables="t_*"),
        receiver=role_script("receiver", owner.receiver, tables="t_*"),
    )


@pytest.mark.long
def test_roles_may_use_the_schemas_of_the_search_path_of_the_database(
    owner: TwoSites, by_roles: Callable[[], TwoSites]
) -> None:
    for url in (owner.sender, owner.receiver):
        fold(url, BODIES["function"])
        set_path_of_database(url)
    prove_that_all_works(by_roles(), owner)


@pytest.mark.parametrize(
    "body",
    [pytest.param(b, marks=[] if k == "function" else pytest.mark.long) for k, b in BODIES.items()],
    ids=BODIES,
)
def test_search_path_that_the_role_lacks_is_named_with_what_sets_it(
    owner: TwoSites, by_roles: Callable[[], TwoSites], body: str
) -> None:
    sites = by_roles()
    for url in (owner.sender, owner.receiver):
        fold(url, body)
    for check in (check_sender, check_receiver):
        (error,) = errors_of(check, sites)
        assert "t_a" in error
        assert "fold" in error
        assert "SET search_path" in error
    with pytest.raises(DatabaseRefusedError, match="fold") as caught:
        sites.complete()
    assert "SET search_path" in caught.value.remedy

    replace(owner, sender=as_application(owner.sender)).complete()
    (refused,) = sites.load().refused
    assert "SET search_path" in str(refused)

    for url, role in ((owner.sender, sites.sender), (owner.receiver, sites.receiver)):
        name = unquote(str(urlsplit(role).username))
        execute(url, f'ALTER ROLE "{name}" {PATH}')
    by_roles()
    if "words" in body:
        for url in (owner.sender, owner.receiver):
            execute(url, 'GRANT SELECT ON "Ext".words TO PUBLIC')
    assert sites.load().refused == ()
    prove_that_all_works(sites, owner)


@pytest.mark.long
@pytest.mark.parametrize("by", ["role", "connection"])
def test_schemas_of_the_administrators_own_search_path_are_not_the_roles(
    owner: TwoSites, role_script: RoleScript, by: str
) -> None:
    """On managed services the administrator has a search path of its own."""
    for side, url in (("sender", owner.sender), ("receiver", owner.receiver)):
        administrator = as_application(url)
        if by == "role":
            administrator = url
            execute(url, f'ALTER ROLE postgres IN DATABASE "{urlsplit(url).path[1:]}" {PATH}')
        role = role_script(side, administrator, tables="t_*").partition("?")[0]
        (may,) = rows(role, MAY_USE)
        assert may == (True, False)


@pytest.mark.long
def test_function_that_finds_its_names_needs_no_setting(
    owner: TwoSites, by_roles: Callable[[], TwoSites]
) -> None:
    for url in (owner.sender, owner.receiver):
        fold(url, "SELECT lower($1)")
    prove_that_all_works(by_roles(), owner)


@pytest.mark.long
def test_table_whose_index_is_rebuilt_hides_no_finding_about_another(
    owner: TwoSites, by_roles: Callable[[], TwoSites]
) -> None:
    """A finding that disappears for the time of a REINDEX ends its incident."""
    for url in (owner.sender, owner.receiver):
        execute(url, "CREATE TABLE t_0 (id int PRIMARY KEY)")
    sites = by_roles()
    for url in (owner.sender, owner.receiver):
        fold(url, BODIES["function"])
    for check, url in ((check_sender, owner.sender), (check_receiver, owner.receiver)):
        with session(url) as other, other.transaction():
            other.execute("REINDEX INDEX t_0_pkey")
            (error,) = errors_of(check, sites)
            role = sites.sender if check is check_sender else sites.receiver
            notes = [one for one in check(role, sites.catalog) if one.unexamined]
        assert "t_a" in error
        assert ["t_0" in one.problem for one in notes] == [True]
        assert [one.table for one in notes] == ["t_0"]
