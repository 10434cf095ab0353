"""The least-privilege roles of deploy/sql do the product's whole job, and nothing else.

All jobs as Dagster runs them go through these roles in test_two_hosts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.demo.city import fill_city
from ar_sync_pipeline.demo.equality import prove_equal_tables
from ar_sync_pipeline.demo.receiver_city import fill_receiver
from ar_sync_pipeline.demo.traffic import Traffic
from ar_sync_pipeline.merge import filling
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError
from ar_sync_pipeline.sync.errors import ArchiveParkedError
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline.transform.transapp.run import run_transapp
from ar_sync_pipeline_tests.fix_roles import RoleScript
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    execute,
    recent_window,
    rows,
    watermark_of,
)
from ar_sync_pipeline_tests.hostile_overloads import hostile_calls, install_hostile_overloads

NEW_TABLE = "CREATE TABLE app_new (id serial PRIMARY KEY, word text)"
OUTSIDE = (
    "CREATE TABLE accounts (id serial PRIMARY KEY, secret text)",
    (
        "CREATE TABLE favourites (id serial PRIMARY KEY, child_id integer NOT NULL"
        " REFERENCES app_child DEFERRABLE INITIALLY DEFERRED)"
    ),
    "CREATE SCHEMA other",
    "CREATE TABLE other.app_thing (id integer PRIMARY KEY)",
)
NOT_THE_SENDER = (
    "INSERT INTO app_parent (code) VALUES ('x')",
    "UPDATE app_child SET amount = 0",
    "DELETE FROM app_child",
    "TRUNCATE app_child",
    "ALTER TABLE app_child ADD word text",
    "CREATE INDEX ON app_child (amount)",
    "DROP TABLE app_child",
    "SELECT setval('app_child_id_seq', 1)",
    "SELECT nextval('app_child_id_seq')",
    "CREATE TABLE mine (id integer)",
    "CREATE TABLE other.mine (id integer)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "SELECT secret FROM accounts",
    "SELECT id FROM other.app_thing",
    "COPY app_child TO PROGRAM 'true'",
    "SELECT pg_read_file('PG_VERSION')",
)
NOT_THE_RECEIVER = (
    "INSERT INTO accounts (secret) VALUES ('x')",
    "SELECT secret FROM accounts",
    "DELETE FROM favourites",
    "UPDATE favourites SET child_id = 2",
    "INSERT INTO other.app_thing VALUES (1)",
    "TRUNCATE app_child",
    "ALTER TABLE app_child ADD word text",
    "ALTER TABLE app_child DISABLE TRIGGER ALL",
    "CREATE INDEX ON app_child (amount)",
    "DROP TABLE app_child",
    "CREATE TABLE mine (id integer)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "COPY app_child TO PROGRAM 'true'",
    "SELECT pg_read_file('PG_VERSION')",
)
UNTRANSFORMED = 'SELECT count(*) FROM "AndroidRequests_eventforbusv2" WHERE transformed IS NOT TRUE'


@pytest.fixture
def sites(filled: TwoSites, role_script: RoleScript) -> TwoSites:
    """Two small servers behind the roles; `filled` reaches them as the owner."""
    filled.at_sender(*OUTSIDE)
    filled.at_receiver(*OUTSIDE)
    return replace(
        filled,
        sender=role_script("sender", filled.sender, tables="app_*"),
        receiver=role_script("receiver", filled.receiver, tables="app_*"),
    )


def refused(url: str, statement: str) -> bool:
    """Whether the server says that the role lacks the right."""
    try:
        execute(url, statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


def allowed(url: str, statements: Iterable[str]) -> list[str]:
    """The statements that the server does not refuse for want of a right."""
    return [statement for statement in statements if not refused(url, statement)]


def test_sender_role_can_only_read_the_replicated_tables(sites: TwoSites) -> None:
    assert allowed(sites.sender, NOT_THE_SENDER) == []


def test_receiver_role_can_only_write_the_catalog_and_its_own_schema(sites: TwoSites) -> None:
    assert allowed(sites.receiver, NOT_THE_RECEIVER) == []


FUNCTIONS = ("of_index", "of_check", "of_default", "of_computed", "of_domain", "of_default_domain")
# Defaults of a column that archives bring, and of one that a load resets.
REPLACED = ("of_replaced", "of_reset")


@pytest.mark.long
def test_receiver_role_may_call_what_its_rows_call_where_the_public_may_not(
    filled: TwoSites, role_script: RoleScript
) -> None:
    """PostgREST's manual recommends to take that right from PUBLIC."""
    for url in (filled.sender, filled.receiver):
        execute(
            url,
            "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
            *(
                f"CREATE FUNCTION {name}(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE"
                " AS 'BEGIN RETURN v; END'"
                for name in (*FUNCTIONS, *REPLACED, "uncalled")
            ),
            "CREATE DOMAIN word AS text CHECK (of_domain(VALUE) <> '') "
            "DEFAULT of_default_domain('x')",
            "CREATE TABLE app_call (id int PRIMARY KEY, w word, words word[], v text,"
            " CHECK (of_check(v) <> ''), own text DEFAULT of_default('y'), own_word word,"
            " sent text DEFAULT of_replaced('z'), state text DEFAULT of_reset('z'),"
            " c text GENERATED ALWAYS AS (of_computed(v)) STORED) PARTITION BY RANGE (id)",
            "CREATE TABLE app_call_1 PARTITION OF app_call FOR VALUES FROM (0) TO (9)",
            "CREATE INDEX ON app_call_1 (of_index(v))",
        )
    filled.at_sender("INSERT INTO app_call VALUES (1, 'a', ARRAY['b'], 'c')")
    rules = {
        "receiver_columns": ["own", "own_word", "state"],
        "reset_on_change": {"state": "new"},
    }
    catalog = Catalog.model_validate(
        {"name": "small", "tables": ["app_*"], "table": {"app_call": rules}}
    )
    role = role_script("receiver", filled.receiver, tables="app_*")
    name = sql.Identifier(unquote(urlsplit(role).username or "")).as_string()
    filled.at_receiver(f"REVOKE EXECUTE ON FUNCTION {', '.join(REPLACED)} FROM {name}")
    sites = replace(filled, receiver=role, catalog=catalog)
    assert check_receiver(role, catalog) == ()
    sites.complete()
    assert sites.load().refused == ()
    assert rows(filled.receiver, "SELECT c, own, own_word, state FROM app_call") == [
        ("c", "y", "x", "new")
    ]
    assert refused(role, "SELECT uncalled('x')")

    filled.at_receiver(f"REVOKE EXECUTE ON FUNCTION of_index, of_domain FROM {name}")
    filled.at_sender("UPDATE app_call SET v = 'd'")
    sites.complete()
    (kept,) = sites.load().refused
    assert "permission denied for function of_domain" in str(kept)
    assert "GRANT EXECUTE ON that function" in str(kept)
    found = check_receiver(role, catalog)
    assert [one.problem for one in found] == [
        f"function public.{one}(text) gives this role no EXECUTE"
        for one in ("of_domain", "of_index")
    ]
    filled.at_receiver(*(one.sql for one in found))
    assert check_receiver(role, catalog) == ()
    assert sites.load().refused == ()


@pytest.mark.long
def test_script_names_functions_that_the_role_may_call_and_no_table_calls(
    filled: TwoSites, role_script: RoleScript
) -> None:
    """It cannot know whether other functions call them, so it takes no such right away."""
    filled.at_receiver(
        *(
            f"CREATE FUNCTION {name}(v float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT v'"
            for name in ("norm", "helper")
        ),
        "REVOKE EXECUTE ON FUNCTION norm, helper FROM PUBLIC",
        "CREATE INDEX of_norm ON app_child (norm(amount))",
    )
    role = role_script("receiver", filled.receiver, tables="app_*")
    assert refused(role, "SELECT helper(1)")
    filled.at_receiver("DROP INDEX of_norm", f"GRANT EXECUTE ON FUNCTION helper TO {_role(role)}")
    role_script(
        "receiver",
        filled.receiver,
        tables="app_*",
        warning="calls itself: public.helper(double precision), public.norm(double precision)\n",
    )
    assert not refused(role, "SELECT helper(1)")


@pytest.mark.long
def test_right_on_a_sequence_that_only_a_function_names_is_not_taken_away(
    filled: TwoSites, role_script: RoleScript
) -> None:
    filled.at_receiver(
        "CREATE SCHEMA numbers",
        "CREATE SEQUENCE numbers.free",
        "CREATE TABLE accounts (id serial PRIMARY KEY)",
        "CREATE FUNCTION next() RETURNS bigint LANGUAGE sql AS $$SELECT nextval('numbers.free')$$",
        "ALTER TABLE app_parent ADD n bigint DEFAULT next()",
    )
    sites = replace(
        filled,
        receiver=role_script("receiver", filled.receiver, tables="app_*"),
        catalog=Catalog.model_validate(
            {
                "name": "small",
                "tables": ["app_*"],
                "table": {"app_parent": {"receiver_columns": ["seen", "transformed", "n"]}},
            }
        ),
    )
    name = _role(sites.receiver)
    filled.at_receiver(
        f"GRANT USAGE ON SCHEMA numbers TO {name}",
        f"GRANT USAGE ON SEQUENCE accounts_id_seq TO {name}",
    )
    sites.complete()
    (kept,) = sites.load().refused
    assert "GRANT USAGE ON that sequence to the role" in str(kept)
    filled.at_receiver(f"GRANT USAGE ON SEQUENCE numbers.free TO {name}")
    role_script("receiver", filled.receiver, tables="app_*", warning="to no column: numbers.free\n")
    assert refused(sites.receiver, "SELECT nextval('accounts_id_seq')")
    assert sites.load().refused == ()


@pytest.mark.long
def test_receiver_role_may_suppress_side_effects_unless_the_administrator_says_no(
    sites: TwoSites, filled: TwoSites, role_script: RoleScript
) -> None:
    suppress = "SET session_replication_role = replica"
    assert not refused(sites.receiver, suppress)
    role_script("receiver", filled.receiver, tables="app_*", suppress="off")
    assert refused(sites.receiver, suppress)
    role_script("receiver", filled.receiver, tables="app_*", suppress="on")
    assert not refused(sites.receiver, suppress)


@pytest.mark.long
def test_roles_reach_the_tables_of_several_schemas_and_no_others(
    filled: TwoSites, role_script: RoleScript
) -> None:
    for url in (filled.sender, filled.receiver):
        execute(
            url,
            *OUTSIDE,
            'CREATE SCHEMA "Sales.1"',
            "CREATE TABLE other.app_old (id integer PRIMARY KEY)",
            "CREATE TABLE other.people (id integer PRIMARY KEY)",
            'CREATE TABLE "app_%[x]" (id serial PRIMARY KEY)',
            "CREATE SCHEMA third",
            "CREATE TABLE third.app_thing (id integer PRIMARY KEY)",
        )
    patterns = {"tables": "app_*, other.app_*", "exclude": "*.app_old"}
    sender = role_script("sender", filled.sender, **patterns)
    receiver = role_script("receiver", filled.receiver, **patterns)
    reads = [f"SELECT FROM {name}" for name in
             ("app_parent", '"app_%[x]"', "other.app_thing")]  # fmt: skip
    not_read = [f"SELECT FROM {name}" for name in
                ("accounts", "other.app_old", "other.people", "third.app_thing")]  # fmt: skip
    assert allowed(sender, reads) == reads
    assert allowed(sender, not_read) == []
    writes = ['INSERT INTO "app_%[x]" DEFAULT VALUES', "DELETE FROM other.app_thing"]
    assert allowed(receiver, writes) == writes
    assert allowed(receiver, [*not_read, "DELETE FROM third.app_thing"]) == []
    assert allowed(sender, writes) == []
    for side, url in (("sender", filled.sender), ("receiver", filled.receiver)):
        role_script(side, url, tables="*.app_thing", new_tables="on", warning="no longer:")
        execute(url, "CREATE TABLE third.app_newer (id integer)")
    assert allowed(sender, [*reads, *not_read]) == [reads[2], not_read[3]]
    assert allowed(sender, ["SELECT FROM third.app_newer"])
    for side, url in (("sender", filled.sender), ("receiver", filled.receiver)):
        role_script(side, url, tables="app_*", new_tables="off", warning="no longer:")
        execute(url, "CREATE TABLE third.app_newest (id integer)")
    assert allowed(receiver, ["SELECT FROM third.app_newest", "SELECT FROM other.app_thing"]) == []


@pytest.mark.long
def test_catalog_of_another_schema_than_public(filled: TwoSites, role_script: RoleScript) -> None:
    execute(filled.sender, *OUTSIDE)
    role = role_script("sender", filled.sender, schema="other", tables="app_*,public.app_child")
    assert allowed(role, [f"SELECT FROM {name}" for name in
                          ("other.app_thing", "app_child", "app_parent")]) == [
        "SELECT FROM other.app_thing", "SELECT FROM app_child",
    ]  # fmt: skip


@pytest.mark.long
def test_tables_of_other_schemas_that_refer_to_the_catalogs_are_looked_at(
    filled: TwoSites, role_script: RoleScript
) -> None:
    execute(
        filled.receiver,
        "CREATE SCHEMA own",
        "CREATE TABLE own.notes (id int PRIMARY KEY, child_id int REFERENCES app_child)",
    )
    role = role_script("receiver", filled.receiver, tables="app_*")
    assert allowed(role, ["SELECT FROM own.notes", "DELETE FROM own.notes"]) == [
        "SELECT FROM own.notes"
    ]


@pytest.mark.long
def test_complete_partial_and_deletions_are_replicated_by_the_roles(
    sites: TwoSites, filled: TwoSites
) -> None:
    sites.complete()
    sites.load()
    filled.at_receiver("INSERT INTO app_note (parent_id, maybe_id, text) VALUES (2, 7, 'mine')")
    filled.at_sender(
        "INSERT INTO app_parent (code) VALUES ('new')",
        "INSERT INTO app_child (parent_id, amount) SELECT max(id), 1 FROM app_parent",
        "UPDATE app_child SET amount = 5, changed = now() WHERE id = 3",
    )
    partial = sites.partial(recent_window())
    assert verify_archive(partial, signing_keys=()).watermark.oldest_write_at is not None
    sites.load()
    assert equal(filled)
    filled.at_sender("DELETE FROM app_child WHERE id IN (7, 8)", "UPDATE app_parent SET code = 'z'"
                     " WHERE code = 'c9'")  # fmt: skip
    sites.complete()
    report = sites.load()
    assert [loaded.manifest.kind for loaded in report.loaded] == ["complete"]
    assert equal(filled)
    assert rows(filled.receiver, "SELECT maybe_id, text FROM app_note") == [(None, "mine")]
    assert rows(filled.receiver, "SELECT last_value FROM app_child_id_seq") == [(2001,)]


def test_sender_role_sees_how_long_other_sessions_transactions_are_open(
    sites: TwoSites, filled: TwoSites
) -> None:
    with psycopg.connect(filled.sender) as other:
        other.execute("INSERT INTO app_parent (code) VALUES ('late')")
        began = other.execute("SELECT now()").fetchone()
        watermark = verify_archive(sites.complete(), signing_keys=()).watermark
    assert began is not None
    assert watermark.oldest_write_at == began[0]


def test_first_load_of_many_rows_keeps_the_indexes_that_the_role_does_not_own(
    sites: TwoSites, filled: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "_WORTH_A_LOCK_ROWS", 2000)
    filled.at_receiver("CREATE INDEX plain ON app_child (parent_id)")
    before = rows(filled.receiver, "SELECT oid FROM pg_class WHERE relname = 'plain'")
    sites.complete()
    sites.load()
    assert equal(filled)
    assert rows(filled.receiver, "SELECT oid FROM pg_class WHERE relname = 'plain'") == before


def test_owner_that_may_make_no_index_in_the_schema_keeps_it(
    sites: TwoSites, filled: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner may drop an index even where the schema lets it make none."""
    monkeypatch.setattr(filling, "_WORTH_A_LOCK_ROWS", 2000)
    filled.at_receiver(
        "CREATE INDEX plain ON app_child (parent_id)",
        f"ALTER TABLE app_child OWNER TO {_role(sites.receiver)}",
        f"REVOKE REFERENCES ON app_parent FROM {_role(sites.receiver)}",
    )
    before = rows(filled.receiver, "SELECT oid FROM pg_class WHERE relname = 'plain'")
    sites.complete()
    sites.load()
    assert equal(filled)
    assert rows(filled.receiver, "SELECT oid FROM pg_class WHERE relname = 'plain'") == before


def test_role_that_is_lent_the_owners_rights_fills_the_first_load_faster(
    sites: TwoSites, filled: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/deployment.md offers for a large first complete."""
    monkeypatch.setattr(filling, "_WORTH_A_LOCK_ROWS", 2000)
    role = _role(sites.receiver)
    owner = role.replace("receiver of", "owner of")
    filled.at_receiver(
        "CREATE INDEX plain ON app_child (parent_id)",
        f"CREATE ROLE {owner}",
        f"GRANT ALL ON SCHEMA public TO {owner}",
        *(f"ALTER TABLE {name} OWNER TO {owner}" for name in ("app_child", "app_parent")),
        f"GRANT {owner} TO {role}",
    )
    before = rows(filled.receiver, "SELECT oid FROM pg_class WHERE relname = 'plain'")
    sites.complete()
    sites.load()
    assert equal(filled)
    assert rows(filled.receiver, "SELECT oid FROM pg_class WHERE relname = 'plain'") != before


@pytest.mark.long
def test_row_that_a_table_outside_the_catalog_refers_to_stays_until_somebody_decides(
    sites: TwoSites, filled: TwoSites
) -> None:
    sites.complete()
    sites.load()
    filled.at_receiver("INSERT INTO favourites (child_id) VALUES (7)")
    filled.at_sender("DELETE FROM app_child WHERE id = 7")
    sites.complete()
    (rejected,) = sites.load().refused
    assert "permission denied for table favourites" in str(rejected)
    assert rows(filled.receiver, "SELECT child_id FROM favourites") == [(7,)]
    assert rows(filled.receiver, "SELECT id FROM app_child WHERE id = 7") == [(7,)]
    filled.at_receiver("DELETE FROM favourites")
    sites.load()
    assert equal(filled)


def test_table_that_is_made_later_is_read_only_where_the_administrator_says_so(
    sites: TwoSites, filled: TwoSites
) -> None:
    filled.at_sender("CREATE TABLE app_new ()", "CREATE TABLE payroll ()")
    assert allowed(sites.sender, ["SELECT FROM app_new", "SELECT FROM payroll"]) == []


@pytest.mark.long
def test_new_table_waits_at_the_receiver_for_the_role(
    sites: TwoSites, filled: TwoSites, role_script: RoleScript
) -> None:
    role_script("sender", filled.sender, tables="app_*", new_tables="on")
    for url in (filled.sender, filled.receiver):
        execute(url, NEW_TABLE)
    filled.at_sender("INSERT INTO app_new (word) VALUES ('first')")
    sites.complete()
    (parked,) = sites.admit().parked
    assert parked.code == ArchiveParkedError.code
    assert "SELECT, INSERT, UPDATE, DELETE on app_new" in str(parked)
    assert "deploy/sql/receiver_role.sql" in str(parked)
    role_script("receiver", filled.receiver, tables="app_*")
    sites.load()
    assert rows(filled.receiver, "SELECT word FROM app_new") == [("first",)]


@pytest.mark.long
def test_both_roles_are_ready_for_new_tables_where_the_administrator_says_so(
    sites: TwoSites, filled: TwoSites, role_script: RoleScript
) -> None:
    role_script("receiver", filled.receiver, tables="app_*", new_tables="on")
    role_script("sender", filled.sender, tables="app_*", new_tables="off")
    for url in (filled.sender, filled.receiver):
        execute(url, NEW_TABLE)
    with pytest.raises(DatabaseRefusedError, match="may not read app_new"):
        sites.complete()
    role_script("sender", filled.sender, tables="app_*")
    filled.at_sender("INSERT INTO app_new (word) VALUES ('first')")
    sites.complete()
    sites.load()
    assert rows(filled.receiver, "SELECT word FROM app_new") == [("first",)]


@pytest.mark.long
def test_excluded_column_is_hidden_in_partitions_and_in_later_tables_too(
    filled: TwoSites, role_script: RoleScript
) -> None:
    execute(
        filled.sender,
        "CREATE TABLE app_user (id int PRIMARY KEY, token text) PARTITION BY RANGE (id)",
        "CREATE TABLE app_user_1 PARTITION OF app_user FOR VALUES FROM (0) TO (9)",
    )
    tables = {"tables": "app_*", "exclude_columns": "app_user.token"}
    url = role_script("sender", filled.sender, **tables)
    execute(
        filled.sender, "CREATE TABLE app_user_2 PARTITION OF app_user FOR VALUES FROM (9) TO (99)"
    )
    for table in ("app_user", "app_user_1", "app_user_2"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(url, f"SELECT token FROM {table}")
    assert rows(url, "SELECT id FROM app_user") == []
    assert rows(url, "SELECT id FROM app_user_1") == []


@pytest.mark.parametrize(("stats", "sees"), [("on", True), ("off", False)])
@pytest.mark.long
def test_texts_of_other_sessions_are_seen_unless_the_administrator_says_no(
    filled: TwoSites, role_script: RoleScript, stats: str, sees: bool
) -> None:
    url = role_script("sender", filled.sender, tables="app_*", stats=stats)
    assert rows(url, "SELECT pg_has_role('pg_read_all_stats', 'MEMBER')") == [(sees,)]


@pytest.mark.long
def test_script_takes_what_the_catalog_no_longer_names(
    sites: TwoSites, filled: TwoSites, role_script: RoleScript
) -> None:
    role_script("receiver", filled.receiver, tables="app_parent, app_note", warning="no longer:")
    lost = "no longer: public.app_child\n"
    role_script("sender", filled.sender, tables="app_paren?", warning=lost)
    assert refused(sites.receiver, "UPDATE app_child SET amount = 0")
    assert refused(sites.sender, "SELECT * FROM app_child")
    assert rows(sites.sender, "SELECT count(*) FROM app_parent") == [(50,)]


@pytest.mark.parametrize("side", ["sender", "receiver"])
@pytest.mark.long
def test_script_names_the_tables_that_another_catalog_loses(
    filled: TwoSites, role_script: RoleScript, side: str
) -> None:
    url = filled.sender if side == "sender" else filled.receiver
    execute(url, "CREATE TABLE crm_lead (id int PRIMARY KEY)")
    role_script(side, url, tables="app_*")
    role_script(side, url, tables="app_*,crm_*")
    role_script(side, url, tables="crm_*", warning="no longer: public.app_child, public.app_")


@pytest.mark.long
def test_script_warns_of_rights_that_others_gave(filled: TwoSites, role_script: RoleScript) -> None:
    for url in (filled.sender, filled.receiver):
        execute(url, *OUTSIDE, "GRANT INSERT ON accounts TO PUBLIC")
    role_script("sender", filled.sender, tables="app_*", warning="can do more than read")
    role_script("receiver", filled.receiver, tables="app_*", warning="more than the catalog")
    for url in (filled.sender, filled.receiver):
        execute(url, "REVOKE INSERT ON accounts FROM PUBLIC")
    role_script("receiver", filled.receiver, tables="app_*")
    execute(filled.receiver, "GRANT CREATE ON SCHEMA public TO PUBLIC")
    role_script("receiver", filled.receiver, tables="app_*", warning="before PostgreSQL 15")


@pytest.mark.long
@pytest.mark.parametrize(
    "given", ["SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC", "pg_read_all_data TO {}"]
)
def test_script_warns_of_what_others_let_the_sender_role_read(
    filled: TwoSites, role_script: RoleScript, given: str
) -> None:
    filled.at_sender(*OUTSIDE)
    excluded = {"tables": "app_*", "exclude_columns": "app_child.picture"}
    name = _role(role_script("sender", filled.sender, **excluded))
    filled.at_sender(f"GRANT {given.format(name)}")
    warning = "public.accounts, public.app_child.picture, public.favourites\n"
    role_script("sender", filled.sender, warning=warning, **excluded)
    filled.at_sender(f"REVOKE {given.format(name).replace(' TO ', ' FROM ')}")
    role_script("sender", filled.sender, **excluded)


@pytest.mark.long
@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_script_takes_default_privileges_of_all_schemas(
    filled: TwoSites, role_script: RoleScript, side: str
) -> None:
    url = filled.sender if side == "sender" else filled.receiver
    role = role_script(side, url, tables="app_*")
    execute(
        url,
        f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {_role(role)}",
        f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON SEQUENCES TO {_role(role)}",
    )
    role_script(side, url, tables="app_*")
    execute(url, "CREATE TABLE later (id serial)")
    assert refused(role, "SELECT * FROM later")
    assert refused(role, "SELECT * FROM later_id_seq")


@pytest.mark.long
def test_roles_may_call_what_identifies_the_cluster_where_public_may_not(
    filled: TwoSites, role_script: RoleScript
) -> None:
    functions = "pg_control_system(), pg_control_checkpoint()"
    for url in (filled.sender, filled.receiver):
        execute(url, f"REVOKE EXECUTE ON FUNCTION {functions} FROM PUBLIC")
    sites = replace(
        filled,
        sender=role_script("sender", filled.sender, tables="app_*"),
        receiver=role_script("receiver", filled.receiver, tables="app_*"),
    )
    for check, role in ((check_sender, sites.sender), (check_receiver, sites.receiver)):
        assert not [one for one in check(role, sites.catalog) if "pg_control" in one.problem]
    sites.complete()
    assert sites.load().refused == ()
    filled.at_sender(f"REVOKE EXECUTE ON FUNCTION {functions} FROM {_role(sites.sender)}")
    found = [
        one for one in check_sender(sites.sender, sites.catalog) if "pg_control" in one.problem
    ]
    assert [one.problem for one in found] == [
        f"function {name} gives this role no EXECUTE" for name in functions.split(", ")
    ]
    filled.at_sender(*(one.sql for one in found))
    sites.complete()


OF_ADMINISTRATOR = (
    "CREATE TYPE mood AS ENUM ('a')",
    "CREATE FUNCTION mooded() RETURNS mood LANGUAGE sql AS $$ SELECT 'a'::mood $$",
    "CREATE TYPE unkeyed AS ENUM ('b')",
    "CREATE TABLE t_a (id serial, m mood DEFAULT mooded(), u unkeyed, PRIMARY KEY (id, m))",
    "REVOKE USAGE ON TYPE mood, unkeyed FROM PUBLIC",
    "REVOKE EXECUTE ON FUNCTION mooded(), pg_control_system() FROM PUBLIC",
)


@pytest.mark.long
@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_right_that_only_an_administrator_may_give_is_named_and_undoes_no_other(
    empty_database: str, role_script: RoleScript, side: str
) -> None:
    """The owner of the application's tables may give all the others."""
    database = empty_database.rpartition("/")[2]
    owner, role = f"owner of {database}", f"{side} of {database}"
    execute(
        empty_database,
        f'CREATE ROLE "{owner}" LOGIN',
        f'CREATE ROLE "{role}" LOGIN',
        f'GRANT "{role}" TO "{owner}" WITH ADMIN OPTION',
        f'ALTER DATABASE "{database}" OWNER TO "{owner}"',
        f'ALTER SCHEMA public OWNER TO "{owner}"',
        *OF_ADMINISTRATOR,
        f'ALTER TABLE t_a OWNER TO "{owner}"',
    )
    url = make_conninfo(empty_database, user=owner)
    run = partial(role_script, side, role=role, tables="t_*")
    given = {
        "sender": ["EXECUTE ON FUNCTION pg_control_system()", "USAGE ON TYPE public.mood"],
        "receiver": [
            "EXECUTE ON FUNCTION pg_control_system()",
            "EXECUTE ON FUNCTION public.mooded()",
            "SET ON PARAMETER session_replication_role",
            "USAGE ON TYPE public.mood",
            "USAGE ON TYPE public.unkeyed",
        ],
    }[side]
    given += ["pg_read_all_stats"] if side == "sender" else []
    statements = [f'GRANT {right} TO "{role}";' for right in given]
    for _ in range(2):
        run(url, warning=f"Let an administrator run: {' '.join(statements)}\n")
    as_role = make_conninfo(empty_database, user=role)
    assert rows(as_role, "SELECT count(*) FROM t_a") == [(0,)]
    execute(empty_database, *statements)
    run(url)


@pytest.mark.long
@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_script_calls_no_function_of_those_who_may_create_some_in_public(
    filled: TwoSites, role_script: RoleScript, side: str
) -> None:
    """The administrator runs it as a superuser, so such a function would become one."""
    url = filled.sender if side == "sender" else filled.receiver
    install_hostile_overloads(url)
    role_script(side, url, tables="app_*", exclude_columns="app_child.amount")
    role_script(side, url, tables="app_child", warning="no longer: public.app_parent")
    assert hostile_calls(url) == 0


@pytest.mark.long
def test_ledger_that_another_role_has_made_is_taken_over(
    filled: TwoSites, role_script: RoleScript
) -> None:
    filled.complete()
    filled.load()
    role = role_script("receiver", filled.receiver, tables="app_*")
    behind = replace(filled, receiver=role)
    filled.complete()
    behind.load()
    assert len(rows(role, "SELECT FROM ar_sync.applied_archive")) == 2


@pytest.mark.long
def test_city_and_its_traffic_are_replicated_and_transformed_by_the_roles(
    sender_db: str, receiver_db: str, role_script: RoleScript, tmp_path: Path
) -> None:
    """The tables of AndroidRequests, with the built-in transform's writes."""
    with psycopg.connect(sender_db) as production, psycopg.connect(receiver_db) as own:
        fill_city(production, now=datetime.now(UTC))
        fill_receiver(own)
    sites = TwoSites(
        role_script("sender", sender_db), role_script("receiver", receiver_db),
        load_catalog(), tmp_path,
    )  # fmt: skip
    since = watermark_of(sites.complete())
    sites.load()
    with psycopg.connect(sender_db) as production:
        Traffic(production, tmp_path / "sender_media", seed=7).burst(
            datetime.now(UTC), deletions=False
        )
    sites.partial(recent_window(), since=since)
    sites.load()
    assert [t for t in prove_equal_tables(sender_db, receiver_db) if not t.equal] == []
    run_transapp(sites.receiver, clock=sites.clock)
    assert rows(receiver_db, UNTRANSFORMED) == [(0,)]


def _role(url: str) -> str:
    (name,) = rows(url, "SELECT quote_ident(current_user)")[0]
    return str(name)
