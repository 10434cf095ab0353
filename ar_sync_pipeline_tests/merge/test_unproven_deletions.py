"""A partial deletes a row only if it shows that the sender deleted it, and children likewise.

The table of the children is larger than `watermark_limit_mb`, or has ``watermark = false``: a
partial does not say what became of rows whose time stamps it does not read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.merge.errors import UnprovenDeletionError
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.receipts import read_receipt
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    execute,
    recent_window,
    remake,
    rows,
    watermark_of,
)

Make = Callable[..., TwoSites]
USERS = "CREATE TABLE t_user (id int PRIMARY KEY, email text UNIQUE)"
EVENTS = (
    "CREATE TABLE t_event (id int PRIMARY KEY,"
    " user_id int REFERENCES t_user ON UPDATE CASCADE ON DELETE {})"
)
CLICKS = "CREATE TABLE t_click (id int PRIMARY KEY, event_id int REFERENCES t_event)"
ALL = ("t_user", "t_event", "t_click")
LARGE = {"t_event": {"watermark": False, "receiver_columns": ["stars"]}}
OWN = "SELECT id, stars FROM t_event ORDER BY id"
STARS = [(1, 5), (2, 5)]


@pytest.fixture
def make(database_factory: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that makes two servers with two users and their events, loaded once."""

    def pair(*, action: str = "SET NULL", rules: object = LARGE) -> TwoSites:
        sender, receiver = database_factory(), database_factory()
        for url in (sender, receiver):
            execute(url, USERS, EVENTS.format(action), CLICKS)
        catalog = Catalog.model_validate(
            {"name": "c", "tables": ["t_*"], "receiver_tables": ["own_*"], "table": rules}
        )
        sites = TwoSites(sender, receiver, catalog, tmp_path_factory.mktemp("pair"))
        sites.at_sender(
            "INSERT INTO t_user VALUES (1, 'a'), (5, 'e')",
            "INSERT INTO t_event VALUES (1, 1), (2, 5)",
            "INSERT INTO t_click VALUES (1, 1)",
        )
        sites.at_receiver(
            "ALTER TABLE t_event ADD stars int",
            "CREATE TABLE own_note (event_id int NOT NULL REFERENCES t_event)",
        )
        return sites

    return pair


def begin(sites: TwoSites) -> Watermark:
    """Load a first complete; return its point."""
    since = watermark_of(sites.complete())
    sites.load()
    sites.at_receiver("UPDATE t_event SET stars = 5", "INSERT INTO own_note SELECT id FROM t_event")
    return since


def partial(sites: TwoSites, since: Watermark) -> Path:
    return sites.partial(recent_window(), since=since)


def reasons(sites: TwoSites) -> list[str]:
    found = [read_reason(archive.path) for archive in list_parked(sites.spool)]
    return [f"{one.error}: {one.reason}: {one.remedy}" for one in found if one]


def requested(sites: TwoSites) -> str | None:
    """Return the table for which the receiver asks the sender for a complete."""
    (parked,) = list_parked(sites.spool)
    receipt = read_receipt(sites.spool, parked.name, signing_keys=())
    assert receipt is not None
    return receipt.lacking.tables[0].name if receipt.lacking else None


def own_data_is_kept(sites: TwoSites) -> bool:
    notes = rows(sites.receiver, "SELECT event_id FROM own_note ORDER BY 1")
    return rows(sites.receiver, OWN) == STARS and notes == [(1,), (2,)]


def ends_equal(sites: TwoSites) -> bool:
    """Load a complete that the receiver gets after all."""
    sites.complete()
    sites.load()
    return reasons(sites) == [] and all(
        equal(sites, f"SELECT {columns} FROM {table} ORDER BY id")
        for table, columns in (("t_user", "*"), ("t_event", "id, user_id"), ("t_click", "*"))
    )


REGISTERED_AGAIN = ("DELETE FROM t_user WHERE id = 1", "INSERT INTO t_user VALUES (2, 'a')")
MERGED = (
    "UPDATE t_event SET user_id = 5 WHERE user_id = 1",
    "DELETE FROM t_user WHERE id = 1",
    "UPDATE t_user SET email = 'a' WHERE id = 5",
)
RENUMBERED = ("UPDATE t_user SET id = 101 WHERE id = 1",)


@pytest.mark.parametrize(
    "changes", [REGISTERED_AGAIN, MERGED, RENUMBERED], ids=["again", "merged", "renumbered"]
)
def test_rows_of_a_table_that_it_does_not_cover_are_not_deleted(
    make: Make, changes: tuple[str, ...]
) -> None:
    sites = make()
    since = begin(sites)
    sites.at_sender(*changes)
    partial(sites, since)
    sites.load()
    (reason,) = reasons(sites)
    assert UnprovenDeletionError.code in reason
    assert "t_event" in reason
    assert "next complete" in reason
    assert requested(sites) == "t_event"
    assert own_data_is_kept(sites)
    assert ends_equal(sites)
    assert own_data_is_kept(sites)


@pytest.mark.long
def test_late_complete_waits_for_the_next_one_if_a_partial_would_delete_its_rows(
    make: Make,
) -> None:
    """The partial was applied without it. What the complete lacks is only the time after it."""
    sites = make()
    sites.at_sender("DELETE FROM t_click", "DELETE FROM t_event WHERE id = 1")
    since = begin(sites)
    sites.at_sender("INSERT INTO t_event VALUES (3, 1)")
    late = sites.complete()
    on_its_way = late.rename(late.with_name("on-its-way"))
    sites.at_sender("DELETE FROM t_event WHERE id = 3", *REGISTERED_AGAIN)
    applied = partial(sites, since)
    assert sites.load().refused == ()
    on_its_way.rename(late)
    sites.load()
    (reason,) = reasons(sites)
    assert f"after it, {applied.name.removeprefix('NEW_')} is applied again" in reason
    assert "t_event" in reason
    (parked,) = list_parked(sites.spool)
    receipt = read_receipt(sites.spool, parked.name, signing_keys=())
    assert receipt is not None
    assert receipt.lacking == Lacking()
    assert equal(sites, "SELECT * FROM t_user ORDER BY id")
    assert ends_equal(sites)


def test_rows_further_down_are_not_deleted_either(make: Make) -> None:
    """The events are covered and gone, their clicks may have moved to others."""
    sites = make(action="CASCADE", rules={"t_click": {"watermark": False}})
    since = watermark_of(sites.complete())
    sites.load()
    sites.at_sender("UPDATE t_click SET event_id = 2", *REGISTERED_AGAIN)
    partial(sites, since)
    sites.load()
    (reason,) = reasons(sites)
    assert "t_click" in reason
    assert rows(sites.receiver, "SELECT count(*) FROM t_click") == [(1,)]
    assert ends_equal(sites)


def test_rows_of_a_covered_table_go_with_their_parent(make: Make) -> None:
    """They did at the sender, or they would be in the archive: their table need not be."""
    sites = make(action="CASCADE", rules={})
    sites.at_sender("DELETE FROM t_click")
    since = begin(sites)
    sites.at_receiver("DELETE FROM own_note WHERE event_id = 1")
    sites.at_sender(*REGISTERED_AGAIN)
    partial(sites, since)
    assert sites.load().refused == ()
    assert equal(sites, "SELECT id, user_id FROM t_event ORDER BY id")
    assert equal(sites, "SELECT * FROM t_user ORDER BY id")


def test_archive_of_a_sender_that_does_not_say_what_it_covers_deletes_no_children(
    make: Make, tmp_path: Path
) -> None:
    sites = make(rules={})
    since = begin(sites)
    sites.at_sender("DELETE FROM t_click", "DELETE FROM t_event WHERE id = 1", *REGISTERED_AGAIN)
    remake(partial(sites, since), tmp_path / "old", format=1, uncovered=None)
    sites.load()
    (reason,) = reasons(sites)
    assert "t_event" in reason
    assert own_data_is_kept(sites)
    assert ends_equal(sites)


class TestAbsentRowsOfATableThatIsCarriedWhole:
    """Its definition has changed. A parent is deleted at the sender, its children may not be."""

    def deleted_before_a_migration(self, sites: TwoSites) -> None:
        since = begin(sites)
        sites.at_sender("DELETE FROM t_user WHERE id = 1")
        for site in (sites.at_sender, sites.at_receiver):
            site("ALTER TABLE t_user ADD x int DEFAULT 0")
        partial(sites, since)

    @pytest.mark.long
    def test_wait_for_the_next_complete_if_children_may_live(self, make: Make) -> None:
        sites = make()
        self.deleted_before_a_migration(sites)
        assert sites.load().refused == ()
        assert rows(sites.receiver, "SELECT id, x FROM t_user ORDER BY id") == [(1, 0), (5, 0)]
        assert own_data_is_kept(sites)
        assert ends_equal(sites)
        assert own_data_is_kept(sites)

    def test_leave_the_table_unverified(self, make: Make) -> None:
        """The receiver's owner has created a column again, and the archive does not compare all."""
        sites = make()
        self.deleted_before_a_migration(sites)
        sites.at_receiver(
            "ALTER TABLE t_user DROP email", "ALTER TABLE t_user ADD email text UNIQUE"
        )
        assert sites.load().unverified == ("t_user",)
        assert rows(sites.receiver, "SELECT id, email FROM t_user ORDER BY id")[1] == (5, "e")
        sites.complete()
        assert sites.load().unverified == ()
        assert equal(sites, "SELECT id, x, email FROM t_user ORDER BY id")

    def test_are_deleted_if_every_change_of_the_children_is_there(self, make: Make) -> None:
        sites = make(rules={})
        self.deleted_before_a_migration(sites)
        assert sites.load().refused == ()
        assert equal(sites, "SELECT id, x FROM t_user ORDER BY id")
        assert equal(sites, "SELECT id, user_id FROM t_event ORDER BY id")
        assert own_data_is_kept(sites)

    def test_wait_if_another_archive_is_missing(self, make: Make) -> None:
        """It has the child that moved to another parent."""
        sites = make(rules={})
        since = begin(sites)
        sites.at_sender("UPDATE t_event SET user_id = 5", "DELETE FROM t_user WHERE id = 1")
        lost = partial(sites, since)
        after = watermark_of(lost)
        lost.unlink()
        for site in (sites.at_sender, sites.at_receiver):
            site("ALTER TABLE t_user ADD x int DEFAULT 0")
        partial(sites, after)
        assert sites.load().refused == ()
        assert own_data_is_kept(sites)
        partial(sites, since)
        assert sites.load().refused == ()
        assert equal(sites, "SELECT id, user_id FROM t_event ORDER BY id")
        assert own_data_is_kept(sites)

    def test_park_the_archive_if_a_row_takes_their_unique_value(self, make: Make) -> None:
        sites = make()
        since = begin(sites)
        sites.at_sender(*REGISTERED_AGAIN)
        for site in (sites.at_sender, sites.at_receiver):
            site("ALTER TABLE t_user ADD x int DEFAULT 0")
        partial(sites, since)
        sites.load()
        (reason,) = reasons(sites)
        assert "t_event" in reason
        assert own_data_is_kept(sites)
        assert ends_equal(sites)


class TestTableThatEarlierPartialsDidNotCover:
    """The receiver may lack changes of it, whatever later partials carry."""

    def left_out(self, sites: TwoSites) -> Watermark:
        """Give up an address in a partial that does not carry it, the table being too large."""
        large = sites.catalog
        sites.catalog = large.model_copy(update={"watermark_limit_mb": 0})
        since = begin(sites)
        sites.at_sender("UPDATE t_user SET email = 'b' WHERE id = 1")
        after = watermark_of(partial(sites, since))
        assert sites.load().refused == ()
        sites.catalog = large
        return after

    @pytest.mark.long
    def test_none_of_its_rows_is_deleted_before_the_next_complete(self, make: Make) -> None:
        sites = make(rules={})
        since = self.left_out(sites)
        for number in (9, 10):
            sites.at_sender(f"INSERT INTO t_user VALUES ({number}, {number})")
            since = watermark_of(partial(sites, since))
            assert sites.load().refused == ()
        sites.at_sender("INSERT INTO t_user VALUES (11, 'a')")
        partial(sites, since)
        sites.load()
        (reason,) = reasons(sites)
        assert "t_user" in reason
        assert requested(sites) == "t_user"
        assert rows(sites.receiver, "SELECT email FROM t_user WHERE id = 1") == [("a",)]
        assert ends_equal(sites)
        assert own_data_is_kept(sites)

    def test_rows_are_deleted_again_after_the_next_complete(self, make: Make) -> None:
        sites = make(rules={})
        self.left_out(sites)
        since = watermark_of(sites.complete())
        sites.load()
        sites.at_sender("DELETE FROM t_event WHERE user_id = 5", "DELETE FROM t_user WHERE id = 5")
        sites.at_sender("INSERT INTO t_user VALUES (11, 'e')")
        partial(sites, since)
        assert sites.load().refused == ()
        assert equal(sites, "SELECT * FROM t_user ORDER BY id")

    def test_rows_are_deleted_again_after_it_was_carried_whole(self, make: Make) -> None:
        sites = make(rules={})
        since = self.left_out(sites)
        for site in (sites.at_sender, sites.at_receiver):
            site(
                "ALTER TABLE t_user ADD x int DEFAULT 0", "ALTER TABLE t_event ADD x int DEFAULT 0"
            )
        since = watermark_of(partial(sites, since))
        assert sites.load().refused == ()
        sites.at_sender("DELETE FROM t_event WHERE user_id = 5", "DELETE FROM t_user WHERE id = 5")
        sites.at_sender("INSERT INTO t_user VALUES (11, 'e')")
        partial(sites, since)
        assert sites.load().refused == ()
        assert equal(sites, "SELECT * FROM t_user ORDER BY id")
