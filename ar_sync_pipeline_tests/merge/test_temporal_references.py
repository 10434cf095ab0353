"""Foreign keys with a PERIOD (PostgreSQL 18): parents together contain the period of the child.

PostgreSQL checks none of them in a session that suppresses side effects.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    execute,
    recent_window,
    rows,
    watermark_of,
)

pytestmark = pytest.mark.long

FIRST, SECOND = "[2026-01-01,2026-07-01)", "[2026-07-01,2027-01-01)"
# The wheel has no btree_gist, so that the other columns are ranges, too.
EMPLOYED = (
    "CREATE TABLE t_emp (id int4range, valid daterange, v int,"
    " PRIMARY KEY (id, valid WITHOUT OVERLAPS))"
)
NUMBERED = (
    "CREATE TABLE t_emp (n int PRIMARY KEY, id int4range, valid daterange, v int,"
    " UNIQUE (id, valid WITHOUT OVERLAPS))"
)
REFERENCE = "FOREIGN KEY (emp, PERIOD valid) REFERENCES t_emp (id, PERIOD valid)"
CHILD = "(id int PRIMARY KEY, emp int4range NOT NULL, valid daterange NOT NULL"
COLUMNS = "CREATE TABLE t_own (id int PRIMARY KEY, emp int4range, valid daterange)"
CHILD_ROW = "VALUES (1, '[1,2)', '[2026-03-01,2026-10-01)')"
_NUMBERS = count()

MakeSites = Callable[..., TwoSites]


@pytest.fixture
def make(postgres_18: EmbeddedPostgres, tmp_path: Path) -> MakeSites:
    """Make two servers with the same tables; the receiver has more."""

    def make(*both: str, receiver: tuple[str, ...] = ()) -> TwoSites:
        sender, other = (
            postgres_18.create_database(f"temporal_{next(_NUMBERS)}") for _ in range(2)
        )
        for url in (sender, other):
            execute(url, *both)
        execute(other, *receiver)
        catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"]})
        return TwoSites(sender, other, catalog, tmp_path)

    return make


def begin(sites: TwoSites, *sender: str, own: bool = False) -> None:
    values = ((f"'[1,2)', '{FIRST}', 1"), (f"'[1,2)', '{SECOND}', 1"), (f"'[2,3)', '{FIRST}', 1"))
    numbered = bool(rows(sites.sender, "SELECT FROM pg_attribute WHERE attname = 'n'"))
    for number, value in enumerate(values):
        prefix = f"{number}, " if numbered else ""
        sites.at_sender(f"INSERT INTO t_emp VALUES ({prefix}{value})")
    sites.at_sender(*sender)
    sites.complete()
    assert sites.load().refused == ()
    if own:
        sites.at_receiver(f"INSERT INTO own {CHILD_ROW}")


def children(sites: TwoSites, table: str = "own") -> list[tuple[object, ...]]:
    return rows(sites.receiver, f"SELECT id FROM {table} ORDER BY id")


OWN = (f"CREATE TABLE own {CHILD}, {REFERENCE})",)


def test_child_whose_period_loses_a_part_depends_on_the_deleted_parent(make: MakeSites) -> None:
    sites = make(EMPLOYED, receiver=OWN)
    begin(sites, own=True)
    sites.at_sender(f"DELETE FROM t_emp WHERE valid = '{SECOND}'")
    sites.complete()
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_emp ORDER BY id, valid")
    assert children(sites) == []


def test_child_whose_period_other_parents_contain_stays(make: MakeSites) -> None:
    sites = make(EMPLOYED, receiver=OWN)
    begin(sites, own=True)
    sites.at_sender(
        "DELETE FROM t_emp WHERE id = '[1,2)'",
        "INSERT INTO t_emp SELECT '[1,2)', daterange(make_date(2026, n, 1),"
        " make_date(2026, n + 1, 1)), 2 FROM generate_series(1, 11) n",
    )
    sites.complete()
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_emp ORDER BY id, valid")
    assert children(sites) == [(1,)]


def test_partial_deletes_the_replicated_child_of_a_period_that_is_gone(make: MakeSites) -> None:
    sites = make(EMPLOYED, f"CREATE TABLE t_own {CHILD}, {REFERENCE})")
    begin(sites, f"INSERT INTO t_own {CHILD_ROW}")
    since = watermark_of(sites.complete())
    sites.load()
    sites.at_sender(
        "DELETE FROM t_own",
        f"DELETE FROM t_emp WHERE valid = '{SECOND}'",
        "UPDATE t_emp SET v = 2 WHERE id = '[2,3)'",
    )
    sites.partial(recent_window(), since=since)
    assert sites.load().refused == ()
    assert children(sites, "t_own") == []


def test_parent_that_becomes_shorter_than_a_child_parks_the_archive(make: MakeSites) -> None:
    sites = make(NUMBERED, receiver=OWN)
    begin(sites, own=True)
    since = watermark_of(sites.complete())
    sites.load()
    sites.at_sender("UPDATE t_emp SET valid = '[2026-07-01,2026-09-01)' WHERE n = 1")
    sites.partial(recent_window(), since=since)
    (refused,) = sites.load().refused
    assert "own_emp_valid_fkey" in str(refused)
    sites.at_receiver("UPDATE own SET valid = '[2026-03-01,2026-09-01)'")
    assert sites.load().refused == ()
    assert children(sites) == [(1,)]


def test_border_between_two_parents_may_move(make: MakeSites) -> None:
    sites = make(NUMBERED, receiver=OWN)
    begin(sites, own=True)
    since = watermark_of(sites.complete())
    sites.load()
    sites.at_sender(
        "UPDATE t_emp SET valid = '[2026-01-01,2026-06-01)' WHERE n = 0",
        "UPDATE t_emp SET valid = '[2026-06-01,2027-01-01)' WHERE n = 1",
    )
    sites.partial(recent_window(), since=since)
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_emp ORDER BY n")
    assert children(sites) == [(1,)]


def test_replaced_parent_that_contains_the_child_with_one_that_stays_keeps_it(
    make: MakeSites,
) -> None:
    sites = make(NUMBERED, receiver=OWN)
    begin(sites, own=True)
    since = watermark_of(sites.complete())
    sites.load()
    sites.at_sender(
        "DELETE FROM t_emp WHERE n = 1", f"INSERT INTO t_emp VALUES (9, '[1,2)', '{SECOND}', 2)"
    )
    sites.partial(recent_window(), since=since)
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_emp ORDER BY n")
    assert children(sites) == [(1,)]


def test_period_of_a_single_partition_s_key_is_checked(make: MakeSites) -> None:
    sites = make(
        EMPLOYED,
        receiver=(
            f"{COLUMNS} PARTITION BY RANGE (id)",
            "CREATE TABLE t_own_1 PARTITION OF t_own FOR VALUES FROM (0) TO (9)",
            f"ALTER TABLE t_own_1 ADD {REFERENCE}",
        ),
    )
    sites.at_sender(COLUMNS)
    begin(sites, f"INSERT INTO t_own {CHILD_ROW}")
    sites.at_sender(f"DELETE FROM t_emp WHERE valid = '{SECOND}'")
    sites.complete()
    (refused,) = sites.load().refused
    assert "t_own_1" in str(refused)
