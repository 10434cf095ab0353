"""A late archive takes back for a moment what the receiver's own rows refer to."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, execute, recent_window, rows
from ar_sync_pipeline_tests.fix_sites import watermark_of as mark
from ar_sync_pipeline_tests.sync.load.test_order_and_gaps import deliver, withhold

CHAIN = ("UPDATE t_a SET u = 'c' WHERE id = 2", "UPDATE t_a SET u = 'b' WHERE id = 1")
TURN = (
    "UPDATE t_a SET u = 'z' WHERE id = 1",
    "UPDATE t_a SET u = 'b' WHERE id = 3",
    "UPDATE t_a SET u = 'd' WHERE id = 2",
    "UPDATE t_a SET u = 'c' WHERE id = 1",
)
OWN_ROWS = "SELECT note, u FROM own ORDER BY note"


@pytest.fixture
def sites(database_factory: DatabaseFactory, tmp_path: Path) -> TwoSites:
    """Two servers with three rows, to each of which a row of the receiver refers by its value."""
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE)")
    catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"], "receiver_tables": ["own*"]})
    return TwoSites(sender, receiver, catalog, tmp_path)


def begin(sites: TwoSites, column: str, action: str = "CASCADE") -> tuple[Path, Watermark]:
    """Apply a complete and a partial; return the one between them, and where the last one ends."""
    sites.at_sender("INSERT INTO t_a VALUES (1, 'a'), (2, 'b'), (3, 'x')")
    since = mark(sites.complete())
    sites.load()
    sites.at_receiver(
        f"CREATE TABLE own (note text PRIMARY KEY, u text {column} REFERENCES t_a (u)"
        f" ON UPDATE {action})",
        "INSERT INTO own VALUES ('on 1', 'a'), ('on 2', 'b'), ('on 3', 'x')",
    )
    sites.at_sender(*CHAIN)
    late = sites.partial(recent_window(), since=since)
    since, late = mark(late), withhold(late)
    sites.at_sender(*TURN)
    end = mark(sites.partial(recent_window(), since=since))
    sites.load()
    if action == "CASCADE":
        assert rows(sites.receiver, OWN_ROWS) == [("on 1", "c"), ("on 2", "d"), ("on 3", "b")]
    return late, end


@pytest.mark.long
@pytest.mark.parametrize("column", ["", "NOT NULL"])
def test_references_are_those_of_before(sites: TwoSites, column: str) -> None:
    late, _ = begin(sites, column)
    deliver(late)
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_a ORDER BY id")
    assert rows(sites.receiver, OWN_ROWS) == [("on 1", "c"), ("on 2", "d"), ("on 3", "b")]


@pytest.mark.long
@pytest.mark.parametrize("column", ["", "NOT NULL"])
def test_references_follow_what_a_third_archive_changes(sites: TwoSites, column: str) -> None:
    late, since = begin(sites, column)
    sites.at_sender("UPDATE t_a SET u = 'e' WHERE id = 3", "UPDATE t_a SET u = 'b' WHERE id = 2")
    sites.partial(recent_window(), since=since)
    deliver(late)
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_a ORDER BY id")
    assert rows(sites.receiver, OWN_ROWS) == [("on 1", "c"), ("on 2", "b"), ("on 3", "e")]


@pytest.mark.long
def test_references_stay_with_the_value_if_their_row_is_gone(sites: TwoSites) -> None:
    late, since = begin(sites, "")
    sites.at_sender("DELETE FROM t_a WHERE id = 3", "UPDATE t_a SET u = 'b' WHERE id = 2")
    sites.complete(since)
    deliver(late)
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_a ORDER BY id")
    assert rows(sites.receiver, OWN_ROWS) == [("on 1", "c"), ("on 2", "b"), ("on 3", "b")]


@pytest.mark.long
@pytest.mark.parametrize("action", ["SET NULL", "SET DEFAULT"])
def test_references_that_people_set_since_are_not_lost(sites: TwoSites, action: str) -> None:
    late, since = begin(sites, "", action)
    sites.at_receiver(
        "UPDATE own SET u = 'c' WHERE note = 'on 1'",
        "UPDATE own SET u = 'd' WHERE note = 'on 2'",
        "UPDATE own SET u = 'b' WHERE note = 'on 3'",
    )
    sites.at_sender("UPDATE t_a SET u = 'e' WHERE id = 2")
    sites.partial(recent_window(), since=since)
    deliver(late)
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_a ORDER BY id")
    assert rows(sites.receiver, OWN_ROWS) == [("on 1", "c"), ("on 2", None), ("on 3", "b")]


@pytest.mark.long
def test_archives_in_order_move_references_of_a_table_without_a_key(sites: TwoSites) -> None:
    """Nothing is late: a row with another key takes the value over, and the references with it."""
    sites.at_sender("INSERT INTO t_a VALUES (1, 'a'), (2, 'b'), (3, 'x')")
    since = mark(sites.complete())
    sites.load()
    sites.at_receiver(
        "CREATE TABLE own (note text, u text REFERENCES t_a (u) ON UPDATE CASCADE)",
        "INSERT INTO own VALUES ('on 2', 'b')",
    )
    sites.at_sender("UPDATE t_a SET id = 9 WHERE id = 2")
    since = mark(sites.partial(recent_window(), since=since))
    sites.at_sender("UPDATE t_a SET u = 'y' WHERE id = 3")
    sites.complete(since)
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_a ORDER BY id")
    assert rows(sites.receiver, OWN_ROWS) == [("on 2", "b")]


@pytest.mark.long
def test_late_complete_that_lacks_the_row_moves_no_reference(sites: TwoSites) -> None:
    sites.at_sender("INSERT INTO t_a VALUES (1, 'a')")
    since = mark(sites.complete())
    sites.load()
    late = sites.complete(since)
    since, late = mark(late), withhold(late)
    sites.at_sender("INSERT INTO t_a VALUES (2, 'b'), (3, 'x')")
    since = mark(sites.partial(recent_window(), since=since))
    sites.load()
    sites.at_receiver(
        "CREATE TABLE own (note text PRIMARY KEY, u text REFERENCES t_a (u) ON UPDATE CASCADE)",
        "INSERT INTO own VALUES ('on 2', 'b')",
    )
    sites.at_sender("UPDATE t_a SET u = 'e' WHERE id = 2", "UPDATE t_a SET u = 'b' WHERE id = 3")
    sites.partial(recent_window(), since=since)
    deliver(late)
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_a ORDER BY id")
    assert rows(sites.receiver, OWN_ROWS) == [("on 2", "e")]


@pytest.mark.long
def test_table_that_a_late_complete_lacks_has_no_reference_of_the_receivers_own(
    sites: TwoSites,
) -> None:
    """Of an archive that lacks the table every column is the receiver's, of a later one none is."""
    sites.at_sender("INSERT INTO t_a VALUES (1, 'a')")
    since = mark(sites.complete())
    sites.load()
    late = sites.complete(since)
    since, late = mark(late), withhold(late)
    for url in (sites.sender, sites.receiver):
        execute(
            url,
            "CREATE TABLE t_b (id int PRIMARY KEY, u text REFERENCES t_a (u) ON UPDATE SET NULL)",
        )
    sites.at_sender("UPDATE t_a SET u = 'n'", "INSERT INTO t_b VALUES (1, 'n')")
    sites.partial(recent_window(), since=since)
    sites.load()
    deliver(late)
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_a")
    assert equal(sites, "SELECT * FROM t_b")
