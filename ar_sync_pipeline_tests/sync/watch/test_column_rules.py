"""Column rules on both sides: what the receiver stores, reports and refuses."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import timedelta
from importlib import resources
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.archive.report import facts, summary
from ar_sync_pipeline.catalog.loader import DEFAULT_CATALOG, load_catalog
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.export.source_tables import exported_table, replicated_tables
from ar_sync_pipeline.export.table_export import are_masks_remembered
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.checks.left_values import values_left
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.bundle_media import bundle_media
from ar_sync_pipeline.sync.dump.dump_tables import dump_partial
from ar_sync_pipeline.sync.dump.table_dump import PartialRequest
from ar_sync_pipeline.sync.watch.compare import compare_archive, compare_databases
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_rights import permissions_count
from ar_sync_pipeline_tests.fix_shared_databases import SharedDatabases
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    execute,
    recent_window,
    rows,
    watermark_of,
)

USERS = (
    (
        "CREATE TABLE t_user (id serial PRIMARY KEY, email varchar(254) NOT NULL UNIQUE,"
        " phone text, token text, born date, lat double precision, changed timestamptz NOT NULL"
        " DEFAULT clock_timestamp(), photo text, icon text)"
    ),
    (
        "CREATE TABLE t_post (id serial PRIMARY KEY, email varchar(254) REFERENCES t_user (email)"
        " DEFERRABLE INITIALLY DEFERRED, body text)"
    ),
)
RULES = {
    "t_user": {
        "changed_at": "changed",
        "media_columns": ["photo", "icon"],
        "exclude": ["token", "photo"],
        "mask": {
            "email": "pseudonym",
            "phone": "null",
            "born": {"truncate": "year"},
            "lat": {"round": 1},
            "changed": {"truncate": "year"},
        },
    },
    "t_post": {"mask": {"email": "pseudonym"}},
}
INSERT = (
    "INSERT INTO t_user (email, phone, token, born, lat, photo, icon)"
    " SELECT 'm' || n, 'p' || n, 't' || n, '1980-05-05', n / 7.0, n || '.jpeg', 'i.jpeg'"
    " FROM generate_series({}) n"
)
JOINED = "SELECT u.id, p.id, body FROM t_user u JOIN t_post p USING (email) ORDER BY 2"


def catalog(**rules: object) -> Catalog:
    return Catalog.model_validate({"name": "c", "tables": ["t_*"], "table": RULES | rules})


@pytest.fixture
def sites(database_factory: DatabaseFactory, tmp_path: Path) -> TwoSites:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, *USERS)
    execute(
        sender,
        INSERT.format("1, 20"),
        "INSERT INTO t_post (email, body) SELECT email, 'b' || id FROM t_user",
        "UPDATE t_user SET changed = now() - interval '1 day'",
    )
    key = "not a secret, since it is in a test"
    return TwoSites(sender, receiver, catalog(), tmp_path, pseudonym_key=key)


@pytest.mark.long
def test_masked_rows_are_loaded_and_joins_survive(sites: TwoSites) -> None:
    first = watermark_of(sites.complete())
    assert sites.load().refused == ()
    assert rows(sites.receiver, JOINED) == rows(sites.sender, JOINED)
    execute(
        sites.sender,
        INSERT.format("21, 22"),
        "UPDATE t_post SET email = 'm21', body = 'moved' WHERE id = 3",
        "UPDATE t_user SET email = 'renamed' WHERE id = 22",
        "DELETE FROM t_user WHERE id = 3",
    )
    second = sites.partial(recent_window(), since=first)
    # Found by the true time, which the receiver never gets.
    assert {t.name: t.row_count for t in verify_archive(second, signing_keys=()).tables} == {
        "t_user": 2, "t_post": 1,
    }  # fmt: skip
    assert sites.load().refused == ()
    sites.complete()
    report = sites.load()
    assert report.loaded[0].tables
    assert rows(sites.receiver, JOINED) == rows(sites.sender, JOINED)
    assert rows(
        sites.receiver, "SELECT DISTINCT phone, token, photo, born::text, icon FROM t_user"
    ) == [(None, None, None, "1980-01-01", "i.jpeg")]
    years = rows(
        sites.receiver, "SELECT bool_and(changed = date_trunc('year', changed)) FROM t_user"
    )
    assert years == [(True,)]


def test_values_of_an_excluded_column_stay_and_new_rows_get_the_default(sites: TwoSites) -> None:
    execute(sites.receiver, "ALTER TABLE t_user ALTER token SET DEFAULT 'own'")
    sites.complete()
    sites.load()
    execute(sites.receiver, "UPDATE t_user SET token = 'set here' WHERE id = 1")
    execute(sites.sender, "UPDATE t_user SET lat = 5, token = 'theirs' WHERE id = 1")
    sites.complete()
    sites.load()
    found = rows(sites.receiver, "SELECT token, count(*) FROM t_user GROUP BY 1 ORDER BY 1")
    assert found == [("own", 19), ("set here", 1)]


def test_files_of_an_excluded_media_column_stay_at_the_sender(sites: TwoSites) -> None:
    for name in ("1.jpeg", "7.jpeg", "i.jpeg", "nobody.jpeg"):
        (sites.sender_media / name).write_bytes(name.encode())
    first = watermark_of(sites.complete())
    sites.load()
    assert [path.name for path in sites.receiver_media.iterdir()] == ["i.jpeg"]
    (sites.sender_media / "i.jpeg").write_bytes(b"changed without its row")
    (sites.sender_media / "21.jpeg").write_bytes(b"of a new row")
    execute(sites.sender, INSERT.format("21, 21"))
    partial = sites.partial(recent_window(), since=first)
    assert [entry.path for entry in verify_archive(partial, signing_keys=()).media] == ["i.jpeg"]
    sites.load()
    assert [path.name for path in sites.receiver_media.iterdir()] == ["i.jpeg"]


def test_unreadable_folder_whose_name_is_not_utf8_stops_no_partial(sites: TwoSites) -> None:
    first = watermark_of(sites.complete())
    (sites.sender_media / "i.jpeg").write_bytes(b"changed without its row")
    folder = Path(os.fsdecode(bytes(sites.sender_media) + b"/caf\xe9"))
    folder.mkdir(mode=0)
    with permissions_count():
        partial = sites.partial(recent_window(), since=first)
    assert [entry.path for entry in verify_archive(partial, signing_keys=()).media] == ["i.jpeg"]


def test_name_that_is_not_utf8_is_not_told_where_a_media_column_is_excluded(
    sites: TwoSites,
) -> None:
    first = watermark_of(sites.complete())
    Path(os.fsdecode(bytes(sites.sender_media) + b"/ana_p\xe9rez.jpeg")).write_bytes(b"a scan")
    for rules, told in ((sites.catalog, 0), (catalog(t_user={}, t_post={}), 1)):
        build = open_build(sites.folder / "scratch", uuid4().hex)
        request = PartialRequest(recent_window(), timedelta(minutes=15), first)
        database = replace(sites.database, catalog=rules)
        dump_partial(database, build, request)
        found = bundle_media(build, database, sites.sender_media, ["*.jpeg"])
        assert found.refused_count == told, found.refused


def test_comparison_is_with_what_the_sender_sends(sites: TwoSites) -> None:
    archive = sites.complete()
    sites.load()
    key = sites.pseudonym_key
    found = compare_databases(sites.sender, sites.receiver, sites.catalog, pseudonym_key=key)
    assert [one.equal for one in found] == [True, True]
    applied = archive.with_name(archive.name.removeprefix("NEW_"))
    assert all(
        one.equal
        for one in compare_archive(applied, sites.receiver, sites.catalog, signing_keys=())
    )
    execute(sites.receiver, "UPDATE t_user SET phone = 'x' WHERE id = 7")
    found = compare_databases(sites.sender, sites.receiver, sites.catalog, pseudonym_key=key)
    assert [one.equal for one in found] == [True, False]


def test_archive_says_which_rules_were_applied(sites: TwoSites) -> None:
    manifest = verify_archive(sites.complete(), signing_keys=())
    assert summary(manifest)["column_rules"]["t_post"] == {"email": "pseudonym"}
    assert "8: t_post.email (pseudonym)" in dict(facts(manifest))["column rules"]


def test_column_that_the_receiver_s_catalog_excludes_is_not_loaded(sites: TwoSites) -> None:
    sender = replace(sites, catalog=catalog(t_user={}, t_post={}))
    sender.complete()
    (parked,) = sites.admit().parked
    assert "t_user.token is excluded by the receiver's catalog" in str(parked)
    assert rows(sites.receiver, "SELECT FROM t_user") == []


def said(url: str, rules: Catalog, level: Level = Level.ERROR) -> list[str]:
    return [str(f) for f in check_receiver(url, rules) if f.level is level]


def test_preflight_of_the_receiver_finds_what_rules_would_park(sites: TwoSites) -> None:
    url = sites.receiver
    assert said(url, sites.catalog) == []
    execute(url, "ALTER TABLE t_user ALTER token SET NOT NULL, ALTER phone SET NOT NULL")
    errors = said(url, sites.catalog)
    assert any("token of table t_user is in `exclude` and NOT NULL" in one for one in errors)
    assert any("phone of t_user is NOT NULL, and `mask` makes it NULL" in one for one in errors)
    (statement,) = [f.sql for f in check_receiver(url, sites.catalog) if "token" in f.sql]
    execute(url, statement, "ALTER TABLE t_user ALTER phone DROP NOT NULL")
    assert said(url, sites.catalog) == []
    execute(url, "ALTER TABLE t_user ALTER token SET DEFAULT '', ALTER token SET NOT NULL",
            "CREATE UNIQUE INDEX one_token ON t_user (token)")  # fmt: skip
    assert any("one_token" in one for one in said(url, sites.catalog, Level.WARNING))
    execute(url, "ALTER TABLE t_user ALTER token DROP NOT NULL")
    assert any("one_token" in one for one in said(url, sites.catalog, Level.WARNING))
    execute(url, "ALTER TABLE t_user ALTER token DROP DEFAULT")
    assert said(url, sites.catalog, Level.WARNING) == []
    execute(url, "ALTER TABLE t_user DROP token, DROP photo")
    assert said(url, sites.catalog, Level.WARNING) == said(url, sites.catalog) == []


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ("(id, token)", False),
        ("(lower(token))", False),
        ("(id) WHERE token IS NOT NULL", False),
        # The primary key keeps such rows apart.
        ("(id) WHERE token IS NULL", False),
        ("(phone) WHERE token IS NULL", True),
        ("(coalesce(token, ''))", True),
        ("(token) NULLS NOT DISTINCT", True),
    ],
)
def test_unique_key_that_rows_without_an_excluded_value_violate_is_named(
    sites: TwoSites, index: str, told: bool
) -> None:
    execute(sites.receiver, f"CREATE UNIQUE INDEX live ON t_user {index}")
    found = said(sites.receiver, sites.catalog, Level.WARNING)
    assert any("rows without its value may be equal" in one for one in found) is told, found


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ("(id) WHERE token = 'x'", ""),
        ("(id, lower(token))", ""),
        ("(phone) WHERE token = 'x'", "drop live at the receiver"),
        ("(token)", "give it a default that differs from row to row"),
        ("(phone, token)", "give it a default that differs from row to row"),
        ('(("id" % 2), token)', "give it a default that differs from row to row"),
    ],
)
def test_unique_key_that_rows_with_the_default_violate_is_named(
    sites: TwoSites, index: str, told: str
) -> None:
    execute(
        sites.receiver,
        "ALTER TABLE t_user ALTER token SET DEFAULT 'x'",
        f"CREATE UNIQUE INDEX live ON t_user {index}",
    )
    found = [one for one in said(sites.receiver, sites.catalog, Level.WARNING) if "live" in one]
    assert len(found) == bool(told)
    assert told in "".join(found)


@pytest.mark.long
def test_unique_key_over_an_excluded_column_displaces_no_row_and_is_not_told(
    sites: TwoSites,
) -> None:
    for url in (sites.sender, sites.receiver):
        execute(url, "ALTER TABLE t_user ADD slot int",
                "CREATE UNIQUE INDEX live ON t_user (slot) WHERE token IS NULL",
                "CREATE UNIQUE INDEX told ON t_user (id) WHERE token <> 'planted'",
                "ALTER TABLE t_user ADD made text GENERATED ALWAYS AS (token || 'planted') STORED",
                "CREATE UNIQUE INDEX too ON t_user (id, (made || 'planted'))")  # fmt: skip
    execute(sites.sender, "UPDATE t_user SET slot = id")
    first = watermark_of(sites.complete())
    assert sites.load().refused == ()
    # Another row takes the slot of one that has a token; at the receiver neither has.
    execute(
        sites.sender,
        INSERT.format("21, 21"),
        "UPDATE t_user SET slot = 1, token = NULL WHERE id = 21",
    )
    partial = sites.partial(recent_window(), since=first)
    assert b"planted" not in partial.read_bytes()
    (refused,) = sites.load().refused
    assert "drop live at the receiver" in str(refused)
    assert rows(sites.receiver, "SELECT FROM t_user WHERE id = 1") == [()]
    execute(sites.receiver, "DROP INDEX live")
    assert sites.load().refused == ()
    assert rows(sites.receiver, "SELECT id FROM t_user WHERE slot = 1 ORDER BY 1") == [(1,), (21,)]


def test_values_of_a_column_that_was_excluded_later_are_named_until_they_are_removed(
    sites: TwoSites,
) -> None:
    without = TableRules.model_validate(RULES["t_user"]).model_copy(update={"exclude": ()})
    before = replace(sites, catalog=catalog(t_user=without))
    before.complete()
    before.load()
    assert said(sites.receiver, before.catalog, Level.WARNING) == []
    found = [f for f in check_receiver(sites.receiver, sites.catalog) if "exclude" in str(f)]
    assert [f.problem.partition(" is in")[0] for f in found] == [
        "column token of table t_user", "column photo of table t_user",
    ]  # fmt: skip
    assert {f.level for f in found} == {Level.WARNING}
    execute(sites.receiver, *(f.sql for f in found))
    assert said(sites.receiver, sites.catalog, Level.WARNING) == []
    sites.complete()
    assert sites.load().refused == ()
    assert said(sites.receiver, sites.catalog, Level.WARNING) == []


def test_rows_of_a_table_that_left_the_catalog_are_named_until_they_are_removed(
    sites: TwoSites,
) -> None:
    def left(rules: Catalog) -> list[Finding]:
        return [f for f in check_receiver(sites.receiver, rules) if "any more" in f.problem]

    sites.complete()
    sites.load()
    users = {"t_user": RULES["t_user"]}
    without = Catalog(name="c", tables=("t_*",), exclude=("t_post",), table=users)
    assert left(sites.catalog) == []
    (found,) = left(without)
    assert (found.level, found.sql) == (Level.WARNING, "")
    assert found.remedy == (
        'DELETE FROM "public"."t_post", or drop the table; if the rows are wanted as they are, add'
        ' it to `receiver_tables`; or remove "t_post" from `exclude`'
    )
    kept = Catalog(name="c", tables=("t_user",), receiver_tables=("t_po*",), table=users)
    assert left(kept) == []
    execute(sites.receiver, found.remedy.partition(",")[0])
    assert left(without) == []


def test_repeated_values_are_pseudonymized_once_by_the_server(sites: TwoSites) -> None:
    execute(
        sites.sender,
        "INSERT INTO t_user (email) VALUES ('one')",
        "INSERT INTO t_post (email, body) SELECT 'one', n FROM generate_series(1, 5000) n",
        "ANALYZE",
    )
    with connect(sites.sender, application="test") as connection:
        facts = replicated_tables(connection, sites.catalog)
        remembered = {
            name: are_masks_remembered(connection, exported_table(sites.catalog, facts[name]))
            for name in ("t_post", "t_user")
        }
    assert remembered == {"t_post": True, "t_user": False}
    first = watermark_of(sites.complete())
    assert sites.load().refused == ()
    execute(sites.sender, "UPDATE t_post SET body = 'new' WHERE id % 3 = 0")
    sites.partial(recent_window(), since=first)
    assert sites.load().refused == ()
    posts = "SELECT body, count(*) FROM t_post WHERE body = 'new' GROUP BY 1"
    assert rows(sites.receiver, posts) == rows(sites.sender, posts)
    assert len(rows(sites.receiver, "SELECT DISTINCT email FROM t_post WHERE id > 20")) == 1
    assert len(rows(sites.receiver, JOINED)) == 5020


@pytest.mark.parametrize(
    ("column", "own", "named"),
    [
        ("text NOT NULL DEFAULT 'it''s'", "DEFAULT", False),
        ("text NOT NULL DEFAULT 'it''s'", "'theirs'", True),
        ("numeric(10, 2) DEFAULT -1", "DEFAULT", False),
        ("numeric(10, 2) DEFAULT -1", "NULL", False),
        ("json NOT NULL DEFAULT '{}'", "DEFAULT", False),
        ("json NOT NULL DEFAULT '{}'", "'[]'", True),
        ("boolean NOT NULL DEFAULT false", "true", True),
        ("timestamptz NOT NULL DEFAULT now()", "'2020-01-01'", False),
        ("char(3) DEFAULT 'a'", "DEFAULT", False),
        ("text[]", "'{a}'", True),
        ("t_post", """jsonb_populate_record(NULL::t_post, '{"id": 1}')""", True),
    ],
)
def test_defaults_of_an_excluded_column_are_not_named(
    sites: TwoSites, column: str, own: str, named: bool
) -> None:
    url = sites.receiver
    sites.complete()
    sites.load()
    execute(url, f"ALTER TABLE t_user ADD v {column}")
    execute(url, f"INSERT INTO t_user (email, v) VALUES ('m', {own})")
    rules = catalog(t_user={"exclude": ["v"]})
    found = [f for f in check_receiver(url, rules) if "column v of table t_user" in f.problem]
    assert [f.level for f in found] == [Level.WARNING] * named
    execute(url, *(f.sql for f in found))
    assert [f for f in check_receiver(url, rules) if "column v of" in f.problem] == []


@pytest.mark.long
def test_search_for_values_that_takes_too_long_is_given_up(sites: TwoSites) -> None:
    with (
        connect(sites.receiver, application="test") as connection,
        psycopg.connect(sites.receiver) as holder,
    ):
        table = read_tables(connection, "public", lambda name: name == "t_user")["t_user"]
        token = table.column("token")
        assert token is not None
        holder.execute("LOCK TABLE t_user IN ACCESS EXCLUSIVE MODE")
        (found,) = values_left(connection, table, token)
    assert (found.level, found.sql) == (Level.NOTE, "")
    assert "takes too long" in found.problem


@pytest.mark.long
def test_nullable_reference_that_is_null_alone_is_loaded_and_verified(sites: TwoSites) -> None:
    for url in (sites.sender, sites.receiver):
        execute(
            url,
            "CREATE TABLE t_card (id serial PRIMARY KEY, user_id int REFERENCES t_user (id),"
            " v text)",
        )
    execute(sites.sender, "INSERT INTO t_card (user_id, v) SELECT id, 'v' FROM t_user")
    rules = catalog(t_card={"mask": {"user_id": "null"}})
    sites = replace(sites, catalog=rules)
    first = watermark_of(sites.complete())
    assert sites.load().refused == ()
    execute(
        sites.sender,
        "UPDATE t_card SET v = 'w', user_id = 2 WHERE id = 1",
        "DELETE FROM t_card WHERE user_id = 7",
        "DELETE FROM t_post WHERE email = 'm7'",
        "DELETE FROM t_user WHERE id = 7",
    )
    sites.partial(recent_window(), since=first)
    assert sites.load().refused == ()
    execute(sites.sender, "UPDATE t_card SET user_id = 3")
    archive = sites.complete()
    assert sites.load().refused == ()
    applied = archive.with_name(archive.name.removeprefix("NEW_"))
    assert all(
        one.equal for one in compare_archive(applied, sites.receiver, rules, signing_keys=())
    )
    cards = "SELECT id, user_id, v FROM t_card ORDER BY 1"
    assert rows(sites.receiver, cards) == [
        (n, None, "w" if n == 1 else "v") for n in range(1, 21) if n != 7
    ]


@pytest.mark.parametrize(
    ("check", "level"),
    [
        ("email LIKE '%@%'", Level.ERROR),
        ("phone IS NOT NULL", Level.ERROR),
        ("phone <> ''", None),
        ("email <> ''", None),
        ("lat < 90", Level.NOTE),
        ("email <> phone", None),
        ("email <> icon", Level.NOTE),
    ],
)
def test_check_constraints_that_read_masked_columns_are_judged(
    sites: TwoSites, check: str, level: Level | None
) -> None:
    for url in (sites.sender, sites.receiver):
        execute(url, f"ALTER TABLE t_user ADD CONSTRAINT rule CHECK ({check}) NOT VALID")
    # The sender's table does not store masked rows, and its administrator keeps the constraint.
    at_sender = Level.WARNING if level is Level.ERROR else level
    for found, expected in (
        (check_sender(sites.sender, sites.catalog), at_sender),
        (check_receiver(sites.receiver, sites.catalog), level),
    ):
        levels = {one.level for one in found if "constraint rule of" in str(one)}
        assert levels == ({expected} if expected else set())


def test_excluded_column_of_a_type_without_null_needs_a_default(sites: TwoSites) -> None:
    url = sites.receiver
    execute(
        url,
        "CREATE DOMAIN sure AS text NOT NULL",
        "ALTER TABLE t_user DROP token",
        "ALTER TABLE t_user ADD token sure",
    )
    (error,) = said(url, sites.catalog)
    assert "token of table t_user is in `exclude`, and its type public.sure takes no NULL" in error
    execute(url, "ALTER TABLE t_user ALTER token SET DEFAULT ''")
    assert said(url, sites.catalog) == []


def test_complete_that_a_check_of_excluded_columns_would_park_is_told_before(
    sites: TwoSites,
) -> None:
    url = sites.receiver
    execute(url, "ALTER TABLE t_user ADD CONSTRAINT known CHECK (num_nonnulls(token, photo) > 0)")
    sites.complete()
    (refused,) = sites.load().refused
    assert "known" in str(refused)
    (error,) = said(url, sites.catalog)
    assert "constraint known of table t_user refuses what `exclude` makes of token, photo" in error
    execute(url, "ALTER TABLE t_user DROP CONSTRAINT known")
    assert sites.load().refused == ()


def test_rules_of_the_package_that_are_off_fit_the_application(
    shared_databases: SharedDatabases, tmp_path: Path
) -> None:
    text = resources.files("ar_sync_pipeline.catalog").joinpath(DEFAULT_CATALOG).read_text("utf-8")
    chosen = tmp_path / "chosen.toml"
    chosen.write_text(re.sub(r"^# (?=mask = )", "", text, flags=re.MULTILINE))
    rules = load_catalog(chosen)
    assert sum(len(table.mask) for table in rules.table.values()) > 15
    assert load_catalog().table["AndroidRequests_transappuser"].mask == {}
    assert [f for f in check_sender(shared_databases.clean("sender"), rules) if bad(f)] == []
    assert [f for f in check_receiver(shared_databases.clean("receiver"), rules) if bad(f)] == []


def bad(finding: Finding) -> bool:
    return finding.level is Level.ERROR or "mask" in str(finding)


def test_values_in_an_excluded_column_are_the_receivers_own_before_the_first_load(
    sites: TwoSites,
) -> None:
    execute(sites.receiver, "ALTER TABLE t_user ADD v text")
    execute(sites.receiver, "INSERT INTO t_user (email, v) VALUES ('m', 'of the receiver')")
    found = check_receiver(sites.receiver, catalog(t_user={"exclude": ["v"]}))
    assert [f for f in found if "column v of table t_user" in f.problem] == []
