"""Nothing beside the rows tells the values of a column with a rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import Manifest, TableManifest
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, recent_window, rows, watermark_of

Make = Callable[..., TwoSites]
CARDS = (
    "CREATE TABLE t_user (id int PRIMARY KEY, name text)",
    "CREATE TABLE t_card (id int PRIMARY KEY, user_id int REFERENCES t_user)",
    "INSERT INTO t_user SELECT n, 'user ' || n FROM generate_series(1, 9) n",
)
EMAILS = (
    "CREATE TABLE t_user (id int PRIMARY KEY, email text, place text)",
    "CREATE UNIQUE INDEX ON t_user (email) WHERE email <> 'ceo@corp.example'",
    "CREATE UNIQUE INDEX ON t_user (place, email)",
)


@pytest.fixture
def make(database_factory: DatabaseFactory, tmp_path: Path) -> Make:
    """Return a function that makes two servers with the same tables ``t_*``, and their rules."""

    def sites(tables: tuple[str, ...], **rules: object) -> TwoSites:
        sender, receiver = database_factory(), database_factory()
        execute(sender, *tables)
        execute(receiver, *(one for one in tables if not one.startswith("INSERT")))
        catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"], "table": rules})
        key = "a secret of sufficient length"
        return TwoSites(sender, receiver, catalog, tmp_path, pseudonym_key=key)

    return sites


def table_of(manifest: Manifest, name: str) -> TableManifest:
    return next(table for table in manifest.tables if table.name == name)


@pytest.mark.parametrize(
    ("rule", "comes_along"), [({}, ["t_card", "t_user"]), ({"user_id": "null"}, ["t_card"])]
)
def test_row_to_which_an_emptied_reference_refers_does_not_come_along(
    make: Make, rule: dict[str, str], comes_along: list[str]
) -> None:
    sites = make(CARDS, t_card={"mask": rule})
    since = watermark_of(sites.complete())
    sites.load()
    sites.at_sender("INSERT INTO t_card VALUES (1, 7)")
    partial = verify_archive(sites.partial(recent_window(), since=since), signing_keys=())
    assert sorted(table.name for table in partial.tables) == comes_along
    assert sites.load().refused == ()
    assert rows(sites.receiver, "SELECT user_id FROM t_card") == [(None if rule else 7,)]


def test_children_by_an_emptied_reference_do_not_come_along(make: Make) -> None:
    rules = {"t_user": {"children": ["t_card"]}, "t_card": {"mask": {"user_id": "null"}}}
    sites = make((*CARDS, "INSERT INTO t_card VALUES (1, 7)"), **rules)
    since = watermark_of(sites.complete())
    sites.at_sender("UPDATE t_user SET name = 'new' WHERE id = 7")
    partial = verify_archive(sites.partial(recent_window(), since=since), signing_keys=())
    assert [table.name for table in partial.tables] == ["t_user"]


def test_literal_of_an_emptied_column_is_in_no_manifest(make: Make) -> None:
    sites = make(EMAILS, t_user={"mask": {"email": "null"}})
    sites.at_sender("INSERT INTO t_user VALUES (1, 'someone@corp.example', 'here')")
    path = sites.complete()
    assert b"corp.example" not in path.read_bytes()
    keys = table_of(verify_archive(path, signing_keys=()), "t_user").unique_keys or ()
    assert [key for key in keys if "email" in key] == []
    assert sites.load().refused == ()


@pytest.mark.parametrize("rules", [{"exclude": ["number"]}, {"mask": {"number": "pseudonym"}}])
def test_last_value_of_a_hidden_sequence_is_not_sent(make: Make, rules: dict[str, object]) -> None:
    tables = ("CREATE TABLE t_user (id serial PRIMARY KEY, number bigserial)",)
    sites = make((*tables, "INSERT INTO t_user DEFAULT VALUES"), t_user=rules)
    manifest = verify_archive(sites.complete(), signing_keys=())
    assert [one.column for one in table_of(manifest, "t_user").sequences] == ["id"]
    assert sites.load().refused == ()
    last = "SELECT is_called FROM t_user_number_seq"
    assert rows(sites.receiver, last) == [(not rules.get("mask") and "exclude" in rules,)]
