"""Foreign keys between columns of two collations: PostgreSQL compares by the parent's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    execute,
    recent_window,
    rows,
    watermark_of,
)

PARENTS = 'CREATE TABLE t_a (code text COLLATE "C" PRIMARY KEY, v int)'
CHILDREN = 'CREATE TABLE {} (id int PRIMARY KEY, code text COLLATE "POSIX" REFERENCES t_a)'


@pytest.fixture
def sites(database_factory: DatabaseFactory, tmp_path: Path) -> TwoSites:
    catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"]})
    sites = TwoSites(database_factory(), database_factory(), catalog, tmp_path)
    for url in (sites.sender, sites.receiver):
        execute(url, PARENTS, CHILDREN.format("t_b"))
    sites.at_receiver(CHILDREN.format("own"))
    sites.at_sender(
        "INSERT INTO t_a VALUES ('a', 1), ('b', 1), ('c', 1)",
        "INSERT INTO t_b VALUES (1, 'a'), (2, 'b')",
    )
    return sites


def test_rows_are_chosen_dumped_and_loaded(sites: TwoSites) -> None:
    since = watermark_of(sites.complete())
    assert sites.load().refused == ()
    sites.at_sender("UPDATE t_b SET code = 'c' WHERE id = 1")
    since = watermark_of(sites.partial(recent_window(), since=since))
    assert sites.load().refused == ()
    sites.at_receiver("INSERT INTO own VALUES (1, 'a'), (2, 'b')")
    sites.at_sender("DELETE FROM t_a WHERE code = 'a'", "UPDATE t_a SET v = 2 WHERE code = 'b'")
    sites.complete(since)
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_a ORDER BY code")
    assert equal(sites, "SELECT * FROM t_b ORDER BY id")
    assert rows(sites.receiver, "SELECT * FROM own ORDER BY id") == [(1, None), (2, "b")]


def test_key_of_a_single_partition_is_checked(sites: TwoSites) -> None:
    sites.at_receiver(
        "DROP TABLE t_b",
        'CREATE TABLE t_b (id int PRIMARY KEY, code text COLLATE "POSIX") PARTITION BY RANGE (id)',
        "CREATE TABLE t_b_1 PARTITION OF t_b FOR VALUES FROM (0) TO (9)",
        "ALTER TABLE t_b_1 ADD FOREIGN KEY (code) REFERENCES t_a",
    )
    sites.complete()
    assert sites.load().refused == ()
