"""One catalog over several schemas: rows, references and tables of the same name."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.demo.equality import prove_equal_tables
from ar_sync_pipeline_tests.fix_sites import TwoSites, recent_window, rows

SCHEMAS = (
    "CREATE SCHEMA x",
    "CREATE SCHEMA y",
    "CREATE TABLE x.t_a (id serial PRIMARY KEY, v text)",
    "CREATE TABLE y.t_b (id int PRIMARY KEY, a int REFERENCES x.t_a, at timestamptz DEFAULT now())",
    "CREATE TABLE t_a (id int PRIMARY KEY, b int REFERENCES y.t_b)",
    'CREATE TABLE "x.t_a" (id int PRIMARY KEY, v text)',
    "CREATE TABLE z_out (id int PRIMARY KEY)",
)
LABELS = ["x.t_a", "y.t_b", "t_a", "public.x.t_a"]


@pytest.fixture
def sites(small_sites: TwoSites) -> TwoSites:
    for change in (small_sites.at_sender, small_sites.at_receiver):
        change(*SCHEMAS)
    small_sites.catalog = Catalog.model_validate(
        {
            "name": "several",
            "tables": ["x.t_*", "y.*", "t_a", "public.x.t_a"],
            "table": {"y.t_b": {"changed_at": "at"}, "x.t_a": {"children": ["y.t_b"]}},
        }
    )
    small_sites.at_sender(
        "INSERT INTO x.t_a (v) SELECT 'x' FROM generate_series(1, 20)",
        "INSERT INTO y.t_b SELECT n, n, now() - interval '1 day' FROM generate_series(1, 20) n",
        "INSERT INTO t_a SELECT n, n FROM generate_series(1, 5) n",
        "INSERT INTO \"x.t_a\" VALUES (1, 'not that of schema x')",
    )
    return small_sites


def equal(sites: TwoSites) -> bool:
    found = prove_equal_tables(sites.sender, sites.receiver, LABELS)
    assert [one.table for one in found] == LABELS
    return all(one.equal for one in found)


@pytest.mark.long
def test_complete_and_partial_carry_the_rows_of_all_schemas(sites: TwoSites) -> None:
    sites.complete()
    sites.load()
    assert equal(sites)
    assert rows(sites.receiver, "SELECT count(*) FROM y.t_b") == [(20,)]
    sites.at_sender(
        "INSERT INTO x.t_a (v) VALUES ('new')",
        "INSERT INTO y.t_b VALUES (21, 21, now())",
    )
    sites.partial(recent_window())
    sites.load()
    assert equal(sites)
    assert rows(sites.receiver, "SELECT last_value FROM x.t_a_id_seq") == [(21,)]


@pytest.mark.long
def test_deletions_follow_references_between_schemas(sites: TwoSites) -> None:
    sites.complete()
    sites.load()
    sites.at_sender(
        "DELETE FROM t_a WHERE id = 5",
        "DELETE FROM y.t_b WHERE id IN (5, 20)",
        "DELETE FROM x.t_a WHERE id = 20",
        "UPDATE \"x.t_a\" SET v = 'changed'",
    )
    sites.complete()
    sites.load()
    assert equal(sites)
    assert rows(sites.receiver, 'SELECT v FROM "x.t_a"') == [("changed",)]
