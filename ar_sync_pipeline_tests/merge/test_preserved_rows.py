"""Rows that one archive deletes in a load of several: restored if none of the others decides."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, execute, recent_window, rows
from ar_sync_pipeline_tests.fix_sites import watermark_of as mark
from ar_sync_pipeline_tests.sync.load.test_order_and_gaps import deliver, withhold

Make = Callable[..., TwoSites]
PARENTS = "CREATE TABLE t_parent (id int PRIMARY KEY, code text)"


@pytest.fixture
def make(database_factory: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that makes two servers with the same tables ``t_*``."""

    def pair(*tables: str) -> TwoSites:
        sender, receiver = database_factory(), database_factory()
        for url in (sender, receiver):
            execute(url, *tables)
        catalog = Catalog.model_validate(
            {"name": "c", "tables": ["t_*"], "receiver_tables": ["own_*"]}
        )
        return TwoSites(sender, receiver, catalog, tmp_path_factory.mktemp("pair"))

    return pair


def reason(sites: TwoSites) -> str:
    (parked,) = list_parked(sites.spool)
    return str(read_reason(parked.path))


class TestTableThatTheSenderDropped:
    """The receiver still has it, with rows, and it matches `tables` of the catalog."""

    def drop(self, sites: TwoSites) -> Watermark:
        """Let the sender drop the children after a first complete."""
        sites.at_sender(
            "INSERT INTO t_parent VALUES (1, 'a'), (2, 'b')",
            "INSERT INTO t_child VALUES (1, 1), (2, 2)",
        )
        since = mark(sites.complete())
        sites.load()
        sites.at_sender("DROP TABLE t_child")
        return since

    def test_references_to_deleted_rows_become_null(self, make: Make) -> None:
        sites = make(
            PARENTS, "CREATE TABLE t_child (id int PRIMARY KEY, p int REFERENCES t_parent)"
        )
        since = self.drop(sites)
        sites.at_sender("DELETE FROM t_parent WHERE id = 1")
        since = mark(sites.complete(since))
        sites.at_sender("UPDATE t_parent SET code = 'new' WHERE id = 2")
        sites.partial(recent_window(), since=since)
        report = sites.load()
        assert (report.refused, len(report.loaded)) == ((), 2)
        assert equal(sites, "SELECT * FROM t_parent ORDER BY id")
        assert rows(sites.receiver, "SELECT * FROM t_child ORDER BY id") == [(1, None), (2, 2)]

    @pytest.mark.parametrize("null", ["", "NOT NULL"])
    @pytest.mark.long
    def test_rows_that_refer_to_newer_rows_than_a_late_complete_are_kept(
        self, make: Make, null: str
    ) -> None:
        sites = make(
            PARENTS, f"CREATE TABLE t_child (id int PRIMARY KEY, p int {null} REFERENCES t_parent)"
        )
        since = self.drop(sites)
        late = withhold(sites.complete(since))
        sites.at_sender("INSERT INTO t_parent VALUES (5, 'five')")
        sites.partial(recent_window(), since=since)
        sites.load()
        sites.at_receiver("INSERT INTO t_child VALUES (9, 5)")
        deliver(late)
        assert sites.load().refused == ()
        assert equal(sites, "SELECT * FROM t_parent ORDER BY id")
        assert rows(sites.receiver, "SELECT * FROM t_child ORDER BY id") == [(1, 1), (2, 2), (9, 5)]


@pytest.mark.long
def test_reference_of_a_receivers_table_without_a_key_is_not_lost(make: Make) -> None:
    """It cannot be put back, so the late complete waits for the next one."""
    sites = make(PARENTS)
    sites.at_receiver(
        "CREATE TABLE own_row (id int PRIMARY KEY, p int NOT NULL REFERENCES t_parent)",
        "CREATE TABLE own_note (row_id int REFERENCES own_row, note text)",
    )
    sites.at_sender("INSERT INTO t_parent VALUES (1, 'a')")
    since = mark(sites.complete())
    sites.load()
    late = withhold(sites.complete(since))
    sites.at_sender("INSERT INTO t_parent VALUES (5, 'five')")
    since = mark(sites.partial(recent_window(), since=since))
    sites.load()
    sites.at_receiver("INSERT INTO own_row VALUES (1, 5)", "INSERT INTO own_note VALUES (1, 'x')")
    deliver(late)
    sites.load()
    assert "rows of own_note refer, and that table has no key" in reason(sites)
    assert rows(sites.receiver, "SELECT * FROM own_note") == [(1, "x")]
    sites.complete(since)
    sites.load()
    assert list_parked(sites.spool) == []
    assert rows(sites.receiver, "SELECT * FROM own_note") == [(1, "x")]


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.long
def test_complete_that_deletes_for_good_is_loaded_with_a_later_partial(
    make: Make, *, again: bool
) -> None:
    """What hangs on the deleted row goes, and a reference without a key becomes NULL."""
    sites = make(PARENTS)
    sites.at_receiver(
        "CREATE TABLE own_row (id int PRIMARY KEY, p int NOT NULL REFERENCES t_parent)",
        "CREATE TABLE own_note (row_id int REFERENCES own_row, note text)",
    )
    sites.at_sender("INSERT INTO t_parent VALUES (1, 'a'), (5, 'five')")
    since = mark(sites.complete())
    sites.load()
    sites.at_receiver(
        "INSERT INTO own_row VALUES (1, 5), (2, 1)",
        "INSERT INTO own_note VALUES (1, 'x'), (2, 'y')",
    )
    sites.at_sender("DELETE FROM t_parent WHERE id = 5")
    late = withhold(sites.complete(since))
    sites.at_sender("UPDATE t_parent SET code = 'b'")
    sites.partial(recent_window(), since=since)
    if again:
        sites.load()
    deliver(late)
    report = sites.load()
    assert (report.refused, len(report.loaded)) == ((), 2)
    assert equal(sites, "SELECT * FROM t_parent")
    assert rows(sites.receiver, "SELECT * FROM own_row") == [(2, 1)]
    assert rows(sites.receiver, "SELECT * FROM own_note ORDER BY note") == [(None, "x"), (2, "y")]


@pytest.mark.long
def test_complete_whose_deleted_row_comes_back_waits_and_the_partial_is_loaded(make: Make) -> None:
    sites = make(PARENTS)
    sites.at_receiver("CREATE TABLE own_note (p int REFERENCES t_parent, note text)")
    sites.at_sender("INSERT INTO t_parent VALUES (1, 'a'), (5, 'five')")
    since = mark(sites.complete())
    sites.load()
    sites.at_receiver("INSERT INTO own_note VALUES (5, 'x')")
    sites.at_sender("DELETE FROM t_parent WHERE id = 5")
    complete = sites.complete(since)
    sites.at_sender("INSERT INTO t_parent VALUES (5, 'again')")
    since = mark(sites.partial(recent_window(), since=since))
    assert len(sites.load().loaded) == 1
    assert [archive.name.waiting for archive in list_parked(sites.spool)] == [complete.name]
    assert equal(sites, "SELECT * FROM t_parent ORDER BY id")
    assert rows(sites.receiver, "SELECT * FROM own_note") == [(5, "x")]
    sites.complete(since)
    sites.load()
    sites.load()
    assert list_parked(sites.spool) == []
    assert rows(sites.receiver, "SELECT * FROM own_note") == [(5, "x")]


@pytest.mark.long
def test_senders_row_that_refers_to_a_row_newer_than_a_late_complete_waits_for_the_next(
    make: Make,
) -> None:
    sites = make(PARENTS, "CREATE TABLE t_child (id int PRIMARY KEY)")
    owner = {"table": {"t_child": {"receiver_columns": ["owner"]}}}
    sites.catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"], **owner})
    sites.at_sender("INSERT INTO t_parent VALUES (1, 'a')", "INSERT INTO t_child VALUES (1)")
    sites.at_receiver("ALTER TABLE t_child ADD owner int NOT NULL DEFAULT 1 REFERENCES t_parent")
    since = mark(sites.complete())
    sites.load()
    late = withhold(sites.complete(since))
    sites.at_sender("INSERT INTO t_parent VALUES (5, 'five')")
    since = mark(sites.partial(recent_window(), since=since))
    sites.load()
    sites.at_receiver("UPDATE t_child SET owner = 5")
    deliver(late)
    sites.load()
    assert "because the sender deleted them or added them later" in reason(sites)
    sites.complete(since)
    sites.load()
    assert list_parked(sites.spool) == []
    assert rows(sites.receiver, "SELECT id, owner FROM t_child") == [(1, 5)]


class TestLaterArchiveWithAllRowsOfTheTable:
    """It decides which rows exist, whatever an earlier archive of the load has deleted."""

    def load(self, sites: TwoSites, *steps: tuple[str, ...]) -> None:
        since = mark(sites.complete())
        sites.load()
        for statements in steps:
            sites.at_sender(*statements)
            since = mark(sites.partial(recent_window(), since=since))
        report = sites.load()
        assert (report.refused, len(report.loaded)) == ((), len(steps))

    @pytest.mark.long
    def test_row_that_it_lacks_does_not_come_back(self, make: Make) -> None:
        sites = make("CREATE TABLE t_a (id int PRIMARY KEY, code text UNIQUE)")
        sites.at_sender("INSERT INTO t_a VALUES (7, 'x'), (8, 'y')")
        self.load(
            sites,
            ("DELETE FROM t_a WHERE id = 7", "UPDATE t_a SET code = 'x' WHERE id = 8"),
            (
                "UPDATE t_a SET code = 'z' WHERE id = 8",
                "ALTER TABLE t_a ALTER code SET STATISTICS 9",
            ),
        )
        assert equal(sites, "SELECT id, code FROM t_a ORDER BY id")
        assert rows(sites.receiver, "SELECT id, code FROM t_a ORDER BY id") == [(8, "z")]

    @pytest.mark.long
    def test_rows_without_a_key_do_not_come_back(self, make: Make) -> None:
        sites = make(
            "CREATE TABLE t_a (id int PRIMARY KEY, code text UNIQUE)",
            "CREATE TABLE t_log (a int NOT NULL REFERENCES t_a)",
        )
        sites.at_sender("INSERT INTO t_a VALUES (7, 'x'), (8, 'y')", "INSERT INTO t_log VALUES (7)")
        self.load(
            sites,
            (
                "DELETE FROM t_log",
                "DELETE FROM t_a WHERE id = 7",
                "UPDATE t_a SET code = 'x' WHERE id = 8",
            ),
            ("INSERT INTO t_a VALUES (7, 'z')", "ALTER TABLE t_log ALTER a SET STATISTICS 9"),
        )
        assert equal(sites, "SELECT id, code FROM t_a ORDER BY id")
        assert rows(sites.receiver, "SELECT count(*) FROM t_log") == [(0,)]
