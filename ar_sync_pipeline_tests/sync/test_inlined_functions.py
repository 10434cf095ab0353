"""An index may use a function that names others without their schema, as `immutable_unaccent` does.

The planner inlines such a function in every query on the table, so that its names are resolved by
the search path of the session (PostgreSQL wiki, "Inlining of SQL functions").
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ar_sync_pipeline.catalog.draft import as_toml
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.change_probe import any_row_changed
from ar_sync_pipeline.export.selection import Selection
from ar_sync_pipeline.sync.load.postprocess import postprocess_state
from ar_sync_pipeline.sync.setup.draft_catalog import draft_catalog
from ar_sync_pipeline.sync.watch.compare import compare_archive, compare_databases
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_sites import PARENTS, TwoSites, equal, recent_window, watermark_of

FOLDED = (
    "CREATE TABLE app_tag (word text)",
    "CREATE TABLE django_migrations (app text, name text)",
    "CREATE FUNCTION helper(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)'",
    "CREATE FUNCTION fold(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT helper($1)'",
    "CREATE INDEX ON app_parent (fold(code))",
    "CREATE INDEX ON app_child (amount) WHERE fold(picture) <> ''",
    "CREATE INDEX ON app_tag (fold(word))",
    "CREATE INDEX ON django_migrations (fold(name))",
    "CREATE DOMAIN folded AS text CHECK (fold(VALUE) = VALUE)",
    "ALTER TABLE app_parent ADD folded folded",
)
RULES = {
    "app_parent": {
        "receiver_columns": ["seen", "transformed"],
        "reset_on_change": {"transformed": False},
        "rewritten_by_transform": ["label"],
        "mask": {"folded": {"constant": "x"}},
    },
    "app_child": {"changed_at": "changed", "media_columns": ["picture"]},
    "app_tag": {},
}


@pytest.fixture
def sites(filled: TwoSites) -> TwoSites:
    """Return a pair in which each table has such an index."""
    for at in (filled.at_sender, filled.at_receiver):
        at(*FOLDED)
    filled.at_sender(
        "INSERT INTO app_tag VALUES ('a')", "INSERT INTO django_migrations VALUES ('app', '0001')"
    )
    filled.at_receiver("INSERT INTO django_migrations VALUES ('app', '0001')")
    filled.catalog = filled.catalog.model_copy(
        update={
            "django_app": "app",
            "table": Catalog.model_validate(
                {"name": "x", "tables": ["app_*"], "table": RULES}
            ).table,
        }
    )
    (filled.sender_media / "a.jpeg").write_bytes(b"a")
    return filled


@pytest.mark.long
def test_completes_and_partials_are_dumped_and_loaded(sites: TwoSites) -> None:
    since = watermark_of(sites.complete())
    sites.load()
    sites.at_sender(
        "UPDATE app_parent SET code = 'x' WHERE id = 1",
        "UPDATE app_child SET picture = 'a.jpeg', changed = now() WHERE id = 7",
        "INSERT INTO app_tag VALUES ('b')",
    )
    sites.partial(recent_window(), since=since)
    sites.load()
    assert (sites.receiver_media / "a.jpeg").read_bytes() == b"a"
    assert equal(sites)
    sites.at_sender("DELETE FROM app_child WHERE id = 8")
    sites.complete(since)
    sites.load()
    assert equal(sites)
    assert equal(sites, PARENTS)


def test_probe_of_a_window_finds_whether_a_row_changed(sites: TwoSites) -> None:
    since = watermark_of(sites.complete())
    selection = Selection(recent_window(), since, timedelta(minutes=5))
    assert not any_row_changed(sites.sender, sites.catalog, selection)
    sites.at_sender("UPDATE app_parent SET code = 'x' WHERE id = 1")
    assert any_row_changed(sites.sender, sites.catalog, selection)


def test_missing_media_file_is_looked_for_in_the_rows(sites: TwoSites) -> None:
    since = watermark_of(sites.complete())
    sites.at_sender("UPDATE app_child SET picture = 'late.jpeg', changed = now() WHERE id = 7")
    second = watermark_of(sites.partial(recent_window(), since=since))
    (sites.sender_media / "late.jpeg").write_bytes(b"b")
    sites.partial(recent_window(), since=second)
    sites.load()
    assert (sites.receiver_media / "late.jpeg").read_bytes() == b"b"


def test_both_sides_are_checked_and_compared(sites: TwoSites) -> None:
    archive = sites.complete()
    for check, url in ((check_sender, sites.sender), (check_receiver, sites.receiver)):
        assert {one.problem.partition(" has no ")[0] for one in check(url, sites.catalog)} == {
            "table app_tag"
        }
    sites.load()
    (one,) = archive.parent.glob("*.tar*")
    for found in (
        compare_databases(sites.sender, sites.receiver, sites.catalog),
        compare_archive(one, sites.receiver, sites.catalog, signing_keys=()),
    ):
        assert all(table.equal for table in found), found


def test_values_left_in_an_excluded_column_are_found(sites: TwoSites) -> None:
    sites.complete()
    sites.load()
    rules = {**RULES, "app_child": {"exclude": ["picture"]}}
    catalog = Catalog.model_validate({"name": "small", "tables": ["app_*"], "table": rules})
    sites.at_receiver("UPDATE app_child SET picture = 'a' WHERE id = 1")
    (found,) = [one for one in check_receiver(sites.receiver, catalog) if "picture" in str(one)]
    assert "has values in it" in str(found)


def test_state_of_the_receiver_is_shown(sites: TwoSites) -> None:
    sites.complete()
    sites.load()
    sites.at_sender("DROP TABLE app_tag")
    sites.complete()
    sites.load()
    assert receiver_status(sites.settings, sites.catalog, datetime.now(UTC)).unsent == ("app_tag",)
    state = postprocess_state(sites.settings, sites.catalog, sites.clock)
    assert [(one.table, one.rows) for one in state.waiting] == [("app_parent", 50)]


def test_catalog_is_drafted_with_its_media_columns(sites: TwoSites) -> None:
    sites.at_sender("UPDATE app_child SET picture = 'a.jpeg'")
    draft = as_toml(draft_catalog(sites.sender, sites.receiver, sites.sender_media))
    assert 'media_columns = ["picture"]' in draft
