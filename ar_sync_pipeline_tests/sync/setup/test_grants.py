"""``ar-sync grants``: a role with only these rights can dump and load, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.catalog.draft import as_toml
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.cli import main
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.postgres.checks.findings import Level
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.sync.setup.draft_catalog import draft_catalog
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline_tests.deploy.test_database_roles import allowed
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_rights import permissions_count
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    execute,
    recent_window,
    rows,
    watermark_of,
)
from ar_sync_pipeline_tests.sync.setup.schemas import CHINOOK

Granted = Callable[..., str]
"""Gives a side's role its rights by the command's output, and returns the role's URL."""

ODD_NAMES = (
    'CREATE TABLE "a, b" (id serial PRIMARY KEY)',
    'CREATE TABLE " it\'s \\ \n %[x]" (id serial PRIMARY KEY)',
    "CREATE TABLE other (id serial PRIMARY KEY)",
)


@pytest.fixture
def granted(postgres_server: EmbeddedPostgres, tmp_path: Path) -> Granted:
    def run(side: str, url: str, catalog: str, *options: str, warning: str = "") -> str:
        database = str(conninfo_to_dict(url)["dbname"])
        role = make_conninfo(url, user=f"{side} of {database}")
        file = tmp_path / f"{side}.toml"
        file.write_text(catalog)
        variable = f"AR_SYNC_{side.upper()}_DATABASE_URL"
        printed = CliRunner().invoke(
            main, ["grants", side, "--catalog", str(file)], env={variable: role}
        )
        assert printed.exit_code == 0, printed.output
        done = subprocess.run(
            [postgres_server.binaries.program("psql"), "--no-psqlrc", *options, url],
            input=printed.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, ""), done
        assert warning in done.stderr if warning else not done.stderr, done.stderr
        return role

    return run


def load(text: str, folder: Path) -> Catalog:
    file = folder / "catalog.toml"
    file.write_text(text)
    return load_catalog(file)


def problems(url: str, catalog: Catalog, side: str) -> list[str]:
    found = check_sender(url, catalog) if side == "sender" else check_receiver(url, catalog)
    return [str(finding) for finding in found if finding.level is not Level.NOTE]


@pytest.mark.long
def test_roles_with_these_rights_alone_dump_and_load(
    database_factory: DatabaseFactory, tmp_path: Path, granted: Granted
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, CHINOOK, "CREATE TABLE alembic_version (v text PRIMARY KEY)")
    execute(
        receiver,
        'CREATE TABLE rating (id serial PRIMARY KEY, "ArtistId" int REFERENCES "Artist"'
        " ON DELETE CASCADE)",
    )
    text = as_toml(draft_catalog(sender, receiver))
    admin = TwoSites(sender, receiver, load(text, tmp_path), tmp_path)
    sites = replace(
        admin,
        sender=granted("sender", sender, text),
        receiver=granted("receiver", receiver, text),
    )
    assert problems(sites.sender, sites.catalog, "sender") == []
    assert problems(sites.receiver, sites.catalog, "receiver") == []
    execute(sender, 'INSERT INTO "Artist" SELECT n, n FROM generate_series(1, 50) n')
    sites.complete()
    sites.load()
    execute(receiver, 'INSERT INTO rating ("ArtistId") VALUES (1), (2)')
    execute(sender, 'UPDATE "Artist" SET "Name" = \'x\' WHERE "ArtistId" = 2')
    sites.partial(recent_window())
    sites.load()
    execute(sender, 'DELETE FROM "Artist" WHERE "ArtistId" = 1')
    sites.complete()
    sites.load()
    assert equal(admin, 'SELECT * FROM "Artist" ORDER BY 1')
    assert rows(receiver, 'SELECT "ArtistId" FROM rating ORDER BY id') == [(None,), (2,)]
    no_more = ("SELECT FROM alembic_version", "CREATE TABLE mine ()", 'DROP TABLE "Artist"')
    assert allowed(sites.sender, [*no_more, 'DELETE FROM "Artist"']) == []
    assert allowed(sites.receiver, no_more) == []


def test_names_that_hold_commas_quotes_and_line_breaks_are_meant_as_they_are(
    empty_database: str, granted: Granted
) -> None:
    execute(empty_database, *ODD_NAMES)
    text = 'name = "x"\ntables = ["a, b", " it\'s \\\\ \\n %[x]"]\n'
    role = granted("sender", empty_database, text)
    reads = ['SELECT FROM "a, b"', 'SELECT FROM " it\'s \\ \n %[x]"']
    assert allowed(role, [*reads, "SELECT FROM other"]) == reads


@pytest.mark.long
def test_tables_of_the_receiver_alone_may_be_missing(empty_database: str, granted: Granted) -> None:
    execute(empty_database, *ODD_NAMES)
    text = 'name = "x"\ntables = ["a, b"]\nreceiver_tables = ["oth*", "viz_*"]\n'
    role = granted("receiver", empty_database, text)
    writes = ['DELETE FROM "a, b"', "DELETE FROM other"]
    assert allowed(role, writes) == writes


@pytest.mark.parametrize("side", ["sender", "receiver"])
@pytest.mark.long
def test_a_listed_table_that_is_missing_costs_the_others_no_right(
    empty_database: str, granted: Granted, side: str
) -> None:
    """A migration may have dropped it, or not made it at this side yet."""
    execute(empty_database, "CREATE TABLE shop_order (id int PRIMARY KEY, note text)")
    catalog = (
        'name = "x"\ntables = ["shop_order", "shop_old", "shp_*"]\n'
        '[table.shop_old]\nexclude = ["secret"]\n'
    )
    missing = "no table of this database matches 'shop_old', 'shp_*' of `tables`"
    role = granted(side, empty_database, catalog, warning=missing)
    assert allowed(role, ["SELECT id FROM shop_order"])


def test_a_database_without_any_listed_table_is_refused(
    empty_database: str, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    file = tmp_path / "x.toml"
    file.write_text('name = "x"\ntables = ["shop_order"]\n')
    printed = CliRunner().invoke(main, ["grants", "sender", "--catalog", str(file)])
    done = subprocess.run(
        [postgres_server.binaries.program("psql"), "--no-psqlrc", "--set=role=no", empty_database],
        input=printed.stdout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "no table of this database matches `tables` and not `exclude`" in done.stderr
    assert "Run it in the database of the catalog" in done.stderr


@pytest.mark.long
def test_a_table_that_is_made_later_is_granted_only_where_the_operator_says_so(
    empty_database: str, granted: Granted
) -> None:
    execute(empty_database, *ODD_NAMES)
    text = 'name = "x"\ntables = ["*"]\n'
    role = granted("sender", empty_database, text)
    execute(empty_database, "CREATE TABLE later ()")
    assert allowed(role, ["SELECT FROM later"]) == []
    granted("sender", empty_database, text, "--set=new_tables=on")
    execute(empty_database, "CREATE TABLE latest ()")
    assert allowed(role, ["SELECT FROM latest"]) != []


def test_output_is_one_script_that_needs_no_other_file_and_no_database() -> None:
    for side in ("sender", "receiver"):
        shown = CliRunner().invoke(main, ["grants", side, "--json"])
        sql = json.loads(shown.stdout)["sql"]
        assert "\\ir" not in sql
        assert "\\set tables 'AndroidRequests_*" in sql
        assert f"\\set role ar_sync_{side}" in sql


def test_a_catalog_that_does_not_load_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.toml").write_text("name = 1")
    shown = CliRunner().invoke(main, ["grants", "sender", "--catalog", str(tmp_path / "no.toml")])
    assert shown.exit_code == 2
    assert "errors in the catalog" in shown.stderr


@pytest.mark.parametrize(
    ("words", "variable", "path", "said"),
    [
        (("grants", "sender"), "CATALOG", "~typo/c.toml", "has an unknown user after ~: write the"),
        (("compare",), "CATALOG", "~typo/c.toml", "has an unknown user after ~: write the whole"),
        (("catalog", "draft"), "SENDER_MEDIA_FLDR", "~typo/media", "has an unknown user after ~"),
        (("catalog", "draft"), "SENDER_MEDIA_FLDR", "closed/media", "cannot be looked up (Perm"),
    ],
)
def test_path_that_cannot_be_used_is_one_message(
    tmp_path: Path, words: tuple[str, ...], variable: str, path: str, said: str
) -> None:
    closed = tmp_path / "closed"
    (closed / "media").mkdir(parents=True)
    closed.chmod(0)
    path = path.replace("closed", str(closed))
    given = {"AR_SYNC_SENDER_DATABASE_URL": "postgresql://u@127.0.0.1:1/d"}
    with permissions_count():
        shown = CliRunner().invoke(main, words, env=given | {f"AR_SYNC_{variable}": path})
    assert (shown.exit_code, shown.stderr.count("\n")) == (2, 1), shown.output
    assert f"AR_SYNC_{variable}={path} {said}" in shown.stderr


PRIVATE = """
name = "x"
tables = ["t_*"]

[table.t_user]
exclude = ["password", "Token"]
mask = { mail = "null" }
"""
USERS = """
CREATE TABLE t_user (id serial PRIMARY KEY, password text, "Token" text, mail text, nick text,
  key text GENERATED ALWAYS AS (lower("Token")) STORED,
  short text GENERATED ALWAYS AS (left(nick, 1)) STORED);
CREATE TABLE t_post (id serial PRIMARY KEY, user_id int NOT NULL REFERENCES t_user, title text);
"""


@pytest.mark.long
def test_an_excluded_column_cannot_be_read_and_dumps_do_without_it(
    database_factory: DatabaseFactory, tmp_path: Path, granted: Granted
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, USERS)
    execute(
        sender,
        'INSERT INTO t_user (password, "Token", mail, nick)'
        " SELECT 'p' || n, 'T' || n, 'm' || n, 'n' || n FROM generate_series(1, 20) n",
        "INSERT INTO t_post (user_id, title) SELECT n, n FROM generate_series(1, 20) n",
    )
    catalog = load(PRIVATE, tmp_path)
    as_admin = check_sender(sender, catalog)
    assert ["may read password, Token, key of table t_user" in str(note) for note in as_admin] == [
        True
    ]
    sites = TwoSites(granted("sender", sender, PRIVATE), receiver, catalog, tmp_path)
    assert check_sender(sites.sender, catalog) == ()
    private = ["SELECT password FROM t_user", "SELECT key FROM t_user", "SELECT * FROM t_user"]
    shared = ["SELECT mail, nick, short, xmin FROM t_user", "SELECT * FROM t_post"]
    assert allowed(sites.sender, [*private, *shared]) == shared
    first = watermark_of(sites.complete())
    sites.load()
    execute(
        sender, "UPDATE t_user SET nick = 'other' WHERE id = 2", "DELETE FROM t_post WHERE id = 3"
    )
    execute(sender, "INSERT INTO t_post (user_id, title) VALUES (7, 'new')")
    sites.partial(recent_window(), since=first)
    sites.load()
    sites.complete()
    sites.load()
    for query in (
        "SELECT id, nick, short FROM t_user ORDER BY 1",
        "SELECT * FROM t_post ORDER BY 1",
    ):
        assert rows(sender, query) == rows(receiver, query)
    assert rows(receiver, 'SELECT DISTINCT password, "Token", mail FROM t_user') == [
        (None, None, None)
    ]


@pytest.mark.long
def test_grants_by_an_old_catalog_let_no_dump_read_what_lost_its_rule(
    database_factory: DatabaseFactory, tmp_path: Path, granted: Granted
) -> None:
    """They follow the names of the catalog, as its rules do."""
    sender, receiver = database_factory(), database_factory()
    execute(sender, USERS)
    sites = TwoSites(
        granted("sender", sender, PRIVATE), receiver, load(PRIVATE, tmp_path), tmp_path
    )
    sites.complete()
    execute(
        sender, "ALTER TABLE t_user RENAME password TO old", "ALTER TABLE t_user ADD password text"
    )
    read = ["SELECT old FROM t_user"]
    assert allowed(sites.sender, read) == []
    lost = "password (`exclude`) of table t_user, and these values are now in old of table t_user"
    with pytest.raises(SchemaError, match=re.escape(lost)):
        sites.complete()
    granted("sender", sender, PRIVATE)
    assert allowed(sites.sender, read) == read
    with pytest.raises(SchemaError, match=re.escape(lost)):
        sites.complete()
    corrected = PRIVATE.replace('"password"', '"password", "old"')
    granted("sender", sender, corrected)
    assert allowed(sites.sender, read) == []
    manifest = verify_archive(
        replace(sites, catalog=load(corrected, tmp_path)).complete(), signing_keys=()
    )
    assert not [c for table in manifest.tables for c in table.columns if c.name == "old"]


@pytest.mark.parametrize("before_15", [False, True])
def test_what_is_computed_from_an_excluded_column_cannot_be_read_either(
    database_factory: DatabaseFactory, tmp_path: Path, granted: Granted, before_15: bool
) -> None:
    sender, catalog = database_factory(), load(PRIVATE, tmp_path)
    execute(sender, USERS)
    if before_15:
        # There the column, not its expression, depends on what it is computed from.
        execute(
            sender,
            "UPDATE pg_depend SET classid = 'pg_class'::regclass, objid = f.adrelid,"
            " objsubid = f.adnum FROM pg_attrdef f WHERE classid = 'pg_attrdef'::regclass"
            " AND objid = f.oid AND refobjid = f.adrelid AND refobjsubid > 0"
            " AND refobjsubid <> f.adnum",
        )
    role = granted("sender", sender, PRIVATE)
    read = ["SELECT key FROM t_user", "SELECT short FROM t_user"]
    assert allowed(role, read) == read[1:]
    assert check_sender(role, catalog) == ()
    execute(sender, f'GRANT SELECT (key) ON t_user TO "{conninfo_to_dict(role)["user"]}"')
    (note,) = check_sender(role, catalog)
    assert "this role may read key of table t_user" in str(note)


def test_a_right_that_a_table_with_excluded_columns_lacks_is_named_with_its_statement(
    database_factory: DatabaseFactory, tmp_path: Path, granted: Granted
) -> None:
    sender = database_factory()
    execute(sender, USERS)
    catalog = load(PRIVATE, tmp_path)
    role = granted("sender", sender, PRIVATE)
    name = conninfo_to_dict(role)["user"]
    execute(
        sender, "ALTER TABLE t_user ADD born date", f'REVOKE SELECT (xmin) ON t_user FROM "{name}"'
    )
    (found,) = [one for one in check_sender(role, catalog) if one.level is not Level.NOTE]
    assert "column born, xmin of table t_user gives this role no SELECT" in str(found)
    execute(sender, found.sql)
    assert check_sender(role, catalog) == ()


def test_the_script_refuses_an_excluded_column_that_is_not_there(
    database_factory: DatabaseFactory, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    sender = database_factory()
    execute(sender, USERS)
    file = tmp_path / "x.toml"
    file.write_text(PRIVATE.replace("Token", "token"))
    printed = CliRunner().invoke(main, ["grants", "sender", "--catalog", str(file)])
    done = subprocess.run(
        [postgres_server.binaries.program("psql"), "--no-psqlrc", "--set=role=nobody", sender],
        input=printed.stdout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "'public.t_user.token' of `exclude_columns` is no column" in done.stderr
    assert rows(sender, "SELECT FROM pg_roles WHERE rolname = 'nobody'") == []
