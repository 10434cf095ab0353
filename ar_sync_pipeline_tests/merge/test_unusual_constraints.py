"""Constraints and columns that ordinary schemas have beside a primary key."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, execute, recent_window, rows
from ar_sync_pipeline_tests.fix_sites import watermark_of as mark
from ar_sync_pipeline_tests.sync.load.test_order_and_gaps import deliver, withhold

Make = Callable[..., TwoSites]


@pytest.fixture
def make(database_factory: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that makes two servers with the same tables ``t_*``."""

    def pair(*tables: str, **rules: object) -> TwoSites:
        sender, receiver = database_factory(), database_factory()
        for url in (sender, receiver):
            execute(url, *tables)
        catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"], **rules})
        return TwoSites(sender, receiver, catalog, tmp_path_factory.mktemp("pair"))

    return pair


@pytest.mark.long
def test_exclusion_constraint_over_the_columns_of_the_key(make: Make) -> None:
    sites = make(
        "CREATE EXTENSION btree_gist",
        (
            "CREATE TABLE t_booking (hall int, during int4range, who text,"
            " PRIMARY KEY (hall, during),"
            " CONSTRAINT t_z_overlap EXCLUDE USING gist (hall WITH =, during WITH &&))"
        ),
    )
    everything = "SELECT * FROM t_booking ORDER BY 1, 2"
    sites.at_sender("INSERT INTO t_booking VALUES (1, '[1,5)', 'a'), (1, '[5,10)', 'b')")
    since = mark(sites.complete())
    sites.load()
    sites.at_sender("DELETE FROM t_booking", "INSERT INTO t_booking VALUES (1, '[1,10)', 'both')")
    sites.complete()
    assert sites.load().refused == ()
    assert equal(sites, everything)
    sites.at_sender(
        "DELETE FROM t_booking",
        "INSERT INTO t_booking VALUES (1, '[1,3)', 'c'), (1, '[3,10)', 'd')",
    )
    sites.partial(recent_window(), since=since)
    sites.complete()
    sites.load()
    sites.load()
    assert equal(sites, everything)


def test_foreign_key_on_a_generated_column_is_of_both_sides(make: Make) -> None:
    sites = make(
        "CREATE TABLE t_user (id int PRIMARY KEY)",
        (
            "CREATE TABLE t_note (id int PRIMARY KEY, kind text, owner int, of_user int GENERATED"
            " ALWAYS AS (CASE WHEN kind = 'u' THEN owner END) STORED REFERENCES t_user)"
        ),
    )
    sites.at_sender(
        "INSERT INTO t_user VALUES (1), (2)", "INSERT INTO t_note VALUES (1, 'u', 1), (2, 'x', 1)"
    )
    sites.complete()
    sites.load()
    sites.at_sender("UPDATE t_note SET owner = 2 WHERE id = 1", "DELETE FROM t_user WHERE id = 1")
    sites.complete()
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_note ORDER BY 1")
    assert equal(sites, "SELECT * FROM t_user ORDER BY 1")


def test_descending_sequence_advances(make: Make) -> None:
    sites = make(
        "CREATE SEQUENCE t_down INCREMENT BY -1",
        "CREATE TABLE t_a (id int PRIMARY KEY DEFAULT nextval('t_down'), v text)",
        "ALTER SEQUENCE t_down OWNED BY t_a.id",
    )
    sites.at_sender("INSERT INTO t_a (v) SELECT 'x' FROM generate_series(1, 500)")
    sites.complete()
    sites.load()
    assert rows(sites.receiver, "SELECT nextval('t_down')") == [(-501,)]
    sites.complete()
    sites.load()
    assert rows(sites.receiver, "SELECT nextval('t_down')") == [(-502,)]


def test_late_complete_with_an_identity_of_the_receiver(make: Make) -> None:
    sites = make(
        "CREATE TABLE t_a (id int PRIMARY KEY, v text, at timestamptz DEFAULT clock_timestamp())",
        table={"t_a": {"changed_at": "at", "receiver_columns": ["number", "note"]}},
    )
    sites.at_receiver("ALTER TABLE t_a ADD number int GENERATED ALWAYS AS IDENTITY, ADD note text")
    sites.at_sender("INSERT INTO t_a (id, v) VALUES (1, 'a')")
    sites.complete()
    sites.load()
    late = sites.complete()
    since = mark(late)
    late = withhold(late)
    sites.at_sender("INSERT INTO t_a (id, v) VALUES (2, 'b')")
    sites.partial(recent_window(), since=since)
    sites.load()
    sites.at_receiver("UPDATE t_a SET note = 'mine' WHERE id = 2")
    deliver(late)
    assert sites.load().refused == ()
    assert equal(sites, "SELECT id, v FROM t_a ORDER BY 1")
    assert rows(sites.receiver, "SELECT note FROM t_a WHERE id = 2") == [("mine",)]
