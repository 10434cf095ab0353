"""Keys made of functions, operators and collations in a schema that a role uses only if told so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_roles import RoleScript
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, execute, recent_window, watermark_of

# Not in SQL: PostgreSQL would write the body into a partition's condition.
NORM = (
    'CREATE SCHEMA "Util"',
    (
        'CREATE FUNCTION "Util".norm(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS'
        " $$BEGIN RETURN lower($1); END$$"
    ),
)
TABLE = "CREATE TABLE t_a (id int PRIMARY KEY, email text)"
KINDS = {
    "function_of_an_index": (*NORM, TABLE, 'CREATE UNIQUE INDEX ON t_a ("Util".norm(email))'),
    "function_of_a_predicate": (
        *NORM,
        TABLE,
        """CREATE UNIQUE INDEX ON t_a (email) WHERE "Util".norm(email) <> ''""",
    ),
    "function_of_a_generated_column": (
        *NORM,
        (
            "CREATE TABLE t_a (id int PRIMARY KEY, email text, n text UNIQUE GENERATED ALWAYS AS"
            ' ("Util".norm(email)) STORED)'
        ),
    ),
    "function_of_a_partition": (
        *NORM,
        'CREATE TABLE t_a (id int, email text) PARTITION BY LIST ("Util".norm(email))',
        "CREATE TABLE t_a_1 PARTITION OF t_a (PRIMARY KEY (id)) FOR VALUES IN ('a', 'b', 'c')",
    ),
    "index_of_a_partition": (
        *NORM,
        "CREATE TABLE t_a (id int, email text) PARTITION BY LIST (email)",
        "CREATE TABLE t_a_1 PARTITION OF t_a FOR VALUES IN ('a', 'b', 'c')",
        'CREATE UNIQUE INDEX ON t_a_1 ("Util".norm(email))',
    ),
    "collation_of_a_column": (
        'CREATE SCHEMA "Util"',
        """CREATE COLLATION "Util".ci FROM "C" """,
        'CREATE TABLE t_a (id int PRIMARY KEY, email text COLLATE "Util".ci)',
    ),
    "collation_of_an_index": (
        'CREATE SCHEMA "Util"',
        """CREATE COLLATION "Util".ci FROM "C" """,
        TABLE,
        'CREATE UNIQUE INDEX ON t_a (email COLLATE "Util".ci)',
    ),
    "operator_class_of_an_index": (
        'CREATE SCHEMA "Util"',
        'CREATE EXTENSION citext SCHEMA "Util"',
        TABLE,
        'CREATE UNIQUE INDEX ON t_a ((email::"Util".citext))',
    ),
    "operator_of_an_exclusion": (
        'CREATE SCHEMA "Util"',
        (
            'CREATE OPERATOR "Util".== (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq,'
            ' COMMUTATOR = OPERATOR("Util".==))'
        ),
        (
            'CREATE OPERATOR CLASS "Util".same FOR TYPE text USING hash AS OPERATOR 1 "Util".==,'
            " FUNCTION 1 hashtext(text)"
        ),
        (
            "CREATE TABLE t_a (id int PRIMARY KEY, email text,"
            ' EXCLUDE USING hash (email "Util".same WITH OPERATOR("Util".==)))'
        ),
    ),
}
# The type is in schema public, and its operators are not.
MAIL = (
    'CREATE SCHEMA "Util"',
    'CREATE EXTENSION citext SCHEMA "Util"',
    'CREATE DOMAIN mail AS "Util".citext',
)
COMPARED = {
    "key": (
        *MAIL,
        "CREATE TABLE t_a (email mail PRIMARY KEY, v int)",
        "INSERT INTO t_a VALUES ('a@b')",
    ),
    "reference": (
        *MAIL,
        "CREATE TABLE t_a (id int PRIMARY KEY, email mail UNIQUE, v int)",
        "CREATE TABLE t_b (id int PRIMARY KEY, email mail REFERENCES t_a (email))",
        "INSERT INTO t_a VALUES (1, 'a@b')",
        "INSERT INTO t_b VALUES (1, 'a@b')",
    ),
}


@pytest.fixture(
    params=[
        pytest.param(kind, marks=[] if kind == "function_of_an_index" else pytest.mark.long)
        for kind in KINDS
    ]
)
def owner(
    request: pytest.FixtureRequest, database_factory: DatabaseFactory, tmp_path: Path
) -> TwoSites:
    catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"]})
    sites = TwoSites(database_factory(), database_factory(), catalog, tmp_path)
    for url in (sites.sender, sites.receiver):
        execute(url, *KINDS[request.param])
    sites.at_sender("INSERT INTO t_a VALUES (1, 'a'), (2, 'b')")
    return sites


def errors(sites: TwoSites) -> list[Finding]:
    found = check_receiver(sites.receiver, sites.catalog)
    return [one for one in found if one.level is Level.ERROR]


@pytest.mark.long
def test_role_may_use_what_its_keys_are_made_of_or_is_told_the_grant(
    owner: TwoSites, role_script: RoleScript
) -> None:
    sites = replace(owner, receiver=role_script("receiver", owner.receiver, tables="t_*"))
    assert errors(sites) == []
    since = watermark_of(sites.complete())
    assert sites.load().refused == ()
    role = unquote(str(urlsplit(sites.receiver).username))
    execute(owner.receiver, f'REVOKE USAGE ON SCHEMA "Util" FROM "{role}"')
    (found,) = errors(sites)
    assert found.problem == "schema Util gives this role no USAGE"
    sites.at_sender("UPDATE t_a SET email = 'c' WHERE id = 1")
    sites.partial(recent_window(), since=since)
    (refused,) = sites.load().refused
    assert "schema Util" in refused.problem
    assert "GRANT USAGE ON" in str(refused)
    execute(owner.receiver, found.sql)
    assert errors(sites) == []
    assert sites.load().refused == ()
    assert equal(owner, "SELECT id, email FROM t_a ORDER BY id")


@pytest.mark.parametrize("statements", COMPARED.values(), ids=COMPARED)
def test_sender_s_role_may_use_what_compares_keys_and_references_or_is_told_the_grant(
    database_factory: DatabaseFactory,
    role_script: RoleScript,
    tmp_path: Path,
    statements: tuple[str, ...],
) -> None:
    catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"]})
    url = database_factory()
    execute(url, *statements)
    role = role_script("sender", url, tables="t_*")
    sites = TwoSites(role, url, catalog, tmp_path)
    assert check_sender(role, catalog) == ()
    since = watermark_of(sites.complete())
    execute(url, "UPDATE t_a SET v = 1")
    sites.partial(recent_window(), since=since)

    execute(url, f'REVOKE USAGE ON SCHEMA "Util" FROM "{unquote(str(urlsplit(role).username))}"')
    (found,) = check_sender(role, catalog)
    assert found.problem == "schema Util gives this role no USAGE"
    execute(url, found.sql)
    sites.partial(recent_window(), since=since)
