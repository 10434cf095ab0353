"""A table that the catalog begins to replicate has rows that no earlier archive brought."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.sync.dump.kept_manifests import keep_manifest
from ar_sync_pipeline.sync.dump.sender_journal import remember_sent
from ar_sync_pipeline.sync.dump.sender_journal_file import SENT_FILE
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, recent_window, rows, watermark_of

OLD_ROWS = (
    "CREATE TABLE t_a (id int PRIMARY KEY, v text)",
    "CREATE TABLE t_b (id int PRIMARY KEY, v text)",
    'CREATE TABLE "t_Ñandú" (id int PRIMARY KEY, v text)',
    "CREATE SCHEMA app",
    "CREATE TABLE app.t_a (id int PRIMARY KEY, v text)",
)
TABLES = ("t_a", "t_b", '"t_Ñandú"', "app.t_a")


def catalog(*tables: str, exclude: tuple[str, ...] = (), schema: str = "public") -> Catalog:
    return Catalog(name="c", schema=schema, tables=tables, exclude=exclude)


ALL = catalog("t_*", "app.t_*")


@pytest.fixture
def sites(database_factory: DatabaseFactory, tmp_path: Path) -> TwoSites:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, *OLD_ROWS)
    for table in TABLES:
        execute(sender, f"INSERT INTO {table} SELECT n, n FROM generate_series(1, 10) n")
    return TwoSites(sender, receiver, ALL, tmp_path)


def counts(sites: TwoSites) -> dict[str, int]:
    return {name: len(rows(sites.receiver, f"SELECT FROM {name}")) for name in TABLES}


def carried(path: Path) -> dict[str, int]:
    return {table.name: table.row_count for table in verify_archive(path, signing_keys=()).tables}


@pytest.mark.parametrize(
    ("before", "added"),
    [
        (catalog("t_a", "t_b", "app.t_a"), {"t_Ñandú"}),
        (catalog("t_*", "app.*", exclude=("t_b",)), {"t_b"}),
        (catalog("t_*"), {"app.t_a"}),
    ],
)
def test_partial_carries_a_table_whole_that_the_catalog_has_added(
    sites: TwoSites, before: Catalog, added: set[str]
) -> None:
    first = watermark_of(replace(sites, catalog=before).complete())
    sites.at_sender("INSERT INTO t_a VALUES (11, '11')")
    second = sites.partial(recent_window(), since=first)
    assert carried(second) == {"t_a": 1, **dict.fromkeys(added, 10)}
    assert carried(sites.partial(recent_window(), since=watermark_of(second))) == {}
    assert sites.load().refused == ()
    assert counts(sites) == {"t_a": 11, "t_b": 10, '"t_Ñandú"': 10, "app.t_a": 10}


def test_table_that_was_away_for_a_while_is_carried_whole(sites: TwoSites) -> None:
    first = watermark_of(sites.complete())
    without = replace(sites, catalog=catalog("t_a"))
    second = watermark_of(without.partial(recent_window(), since=first))
    sites.at_sender("UPDATE t_b SET v = 'missed' WHERE id = 3")
    third = watermark_of(without.partial(recent_window(), since=second))
    whole = {"t_b": 10, "t_Ñandú": 10, "app.t_a": 10}
    assert carried(sites.partial(recent_window(), since=third)) == whole
    # From an archive that had the table, what has changed since is enough.
    assert carried(sites.partial(recent_window(), since=first)) == {"t_b": 1}


def test_tables_of_another_schema_under_the_same_labels_are_carried_whole(sites: TwoSites) -> None:
    first = watermark_of(replace(sites, catalog=catalog("t_a")).complete())
    moved = replace(sites, catalog=catalog("t_a", schema="app"))
    assert carried(moved.partial(recent_window(), since=first)) == {"t_a": 10}


def test_journal_of_an_earlier_version_knows_tables_by_the_last_complete(sites: TwoSites) -> None:
    scratch, before = sites.folder / "scratch", catalog("t_*")
    manifest = verify_archive(replace(sites, catalog=before).complete(), signing_keys=())
    remember_sent(scratch, manifest, 1, datetime.now(UTC))
    keep_manifest(scratch, manifest)
    journal = json.loads((scratch / SENT_FILE).read_text())
    # It listed only tables with rules, and had no entry without any.
    journal["rules"] = []
    (scratch / SENT_FILE).write_text(json.dumps(journal))
    partial = sites.partial(recent_window(), since=manifest.watermark)
    assert carried(partial) == {"app.t_a": 10}
    assert carried(sites.partial(recent_window(), since=watermark_of(partial))) == {}
