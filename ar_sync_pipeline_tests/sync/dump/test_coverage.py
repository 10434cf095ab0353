"""Which tables a partial covers: the receiver lacks no change of them, if it has the partial."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.postgres.checks.omissions import find_omissions
from ar_sync_pipeline.sync.dump import dump_tables
from ar_sync_pipeline.sync.dump.coverage import uncovered_at
from ar_sync_pipeline.sync.dump.journal_of_tables import (
    MOST_UNREAD,
    remember_digests,
    remember_loss,
    remember_unread,
)
from ar_sync_pipeline.sync.dump.sender_journal import begin_at
from ar_sync_pipeline.sync.dump.sender_journal_file import (
    SENT_FILE,
    DigestsOf,
    UnreadTables,
    read_journal,
)
from ar_sync_pipeline_tests.sync.dump.test_media_lists import apply, said
from ar_sync_pipeline_tests.sync.fix_differential import late_complete
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

CHILD = "UPDATE app_child SET amount = 7 WHERE id = 7"
PARENT = "UPDATE app_parent SET label = '{}'"


def test_it_covers_all_tables_that_it_reads_for_the_watermark(media_sender: MediaSender) -> None:
    apply(media_sender, media_sender.complete())
    assert media_sender.partial().uncovered == ()


def test_it_says_nothing_to_a_receiver_that_does_not_read_it(media_sender: MediaSender) -> None:
    apply(media_sender, media_sender.complete())
    said(media_sender, 1, 2, 3, 4)
    partial = media_sender.partial()
    assert (partial.uncovered, partial.format) == (None, 1)
    apply(media_sender, partial)


def test_computed_columns_are_named_only_to_a_receiver_that_reads_it(
    media_sender: MediaSender,
) -> None:
    media_sender.sites.at_sender("ALTER TABLE app_parent ADD v int GENERATED ALWAYS AS (id) STORED")
    complete = media_sender.complete()
    computed = {table.name: table.generated for table in complete.tables if table.generated}
    assert (complete.format, computed) == (6, {"app_parent": ("v",)})
    apply(media_sender, complete)
    assert (media_sender.partial().format, media_sender.complete().format) == (5, 6)
    said(media_sender, 1, 2, 3, 4, 5)
    complete = media_sender.complete()
    assert (complete.format, any(table.generated for table in complete.tables)) == (1, False)


def test_without_a_starting_point_it_covers_nothing(media_sender: MediaSender) -> None:
    assert media_sender.partial().uncovered is None


def test_tables_are_carried_whole_if_nobody_knows_what_was_covered(
    media_sender: MediaSender,
) -> None:
    apply(media_sender, media_sender.complete())
    (media_sender.scratch / SENT_FILE).unlink()
    partial = media_sender.partial()
    assert all(table.whole for table in partial.tables)
    assert partial.uncovered == ()


@pytest.mark.long
def test_complete_that_never_arrives_covers_nothing_after_the_journal_was_lost(
    media_sender: MediaSender,
) -> None:
    apply(media_sender, media_sender.complete())
    (media_sender.scratch / SENT_FILE).unlink()
    assert applied_partial(media_sender).uncovered == ()
    assert too_large(media_sender, "app_parent").uncovered == ("app_parent",)
    media_sender.bundled_complete()
    found = [applied_partial(media_sender).uncovered for _ in range(2)]
    assert found == [("app_parent",), ("app_parent",)]
    apply(media_sender, media_sender.complete())
    assert media_sender.partial().uncovered == ()


@pytest.mark.long
def test_complete_that_was_begun_before_the_journal_was_lost_covers_nothing(
    media_sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partial that overtook it left a table out, and only the lost journal said so."""
    apply(media_sender, media_sender.complete())

    def lose(*args: Any) -> Any:
        monkeypatch.setattr(dump_tables, "find_omissions", find_omissions)
        assert too_large(media_sender, "app_parent").uncovered == ("app_parent",)
        (media_sender.scratch / SENT_FILE).unlink()
        return find_omissions(*args)

    monkeypatch.setattr(dump_tables, "find_omissions", lose)
    media_sender.bundled_complete()
    found = [applied_partial(media_sender).uncovered for _ in range(2)]
    assert found == [("app_child", "app_parent")] * 2
    apply(media_sender, media_sender.complete())
    assert media_sender.partial().uncovered == ()


class TestTableThatWasTooLargeOnce:
    """A partial did not read it, and the receiver lacks what changed until a complete comes."""

    @pytest.fixture
    def pair(self, media_sender: MediaSender) -> MediaSender:
        """Two servers, after a partial that did not read the table of the parents."""
        apply(media_sender, media_sender.complete())
        assert too_large(media_sender, "app_parent").uncovered == ("app_parent",)
        assert applied_partial(media_sender).uncovered == ("app_parent",)
        return media_sender

    def test_is_covered_after_a_complete_that_partials_have_overtaken(
        self, pair: MediaSender
    ) -> None:
        """The receiver never says that it is at the complete: it is at a later partial."""
        pair.sites.at_sender(PARENT.format("new"))
        late_complete(pair, PARENT.format("newer"))
        assert pair.sites.load().refused == ()
        assert pair.partial().uncovered == ()

    @pytest.mark.long
    def test_is_covered_as_long_as_it_is_read(self, pair: MediaSender) -> None:
        late_complete(pair, CHILD)
        pair.sites.load()
        assert applied_partial(pair).uncovered == ()
        assert too_large(pair, "app_child").uncovered == ("app_child",)
        assert pair.partial().uncovered == ("app_child",)

    @pytest.mark.long
    def test_stays_uncovered_if_the_complete_could_not_compare_it(self, pair: MediaSender) -> None:
        """A chunk that the complete does not carry has changed meanwhile."""
        late_complete(pair, PARENT.format("new"), CHILD)
        pair.sites.load()
        assert applied_partial(pair).uncovered == ("app_parent",)
        apply(pair, pair.complete())
        assert pair.partial().uncovered == ()

    def test_is_covered_after_it_was_carried_whole(self, pair: MediaSender) -> None:
        for site in (pair.sites.at_sender, pair.sites.at_receiver):
            site("ALTER TABLE app_parent ADD x int DEFAULT 0")
        assert [applied_partial(pair).uncovered for _ in range(3)] == [(), (), ()]

    def test_stays_uncovered_while_the_complete_is_on_its_way(self, pair: MediaSender) -> None:
        late_complete(pair, CHILD)
        assert pair.partial().uncovered == ("app_parent",)


@pytest.mark.long
def test_table_that_is_never_read_stays_uncovered_alone(media_sender: MediaSender) -> None:
    apply(media_sender, media_sender.complete())
    never_read(media_sender, "app_parent")
    late_complete(media_sender, CHILD)
    media_sender.sites.load()
    found = [applied_partial(media_sender).uncovered for _ in range(2)]
    assert found == [("app_parent",), ("app_parent",)]
    assert len(read_journal(media_sender.scratch).unread) == 1


@pytest.mark.long
def test_journal_of_an_earlier_version_does_not_make_every_table_uncovered(
    media_sender: MediaSender,
) -> None:
    """Its partials were read as if they covered what they read; none is parked by an upgrade."""
    apply(media_sender, media_sender.complete())
    too_large(media_sender, "app_parent")
    journal = media_sender.scratch / SENT_FILE
    content = json.loads(journal.read_bytes())
    del content["unread"]
    journal.write_text(json.dumps(content))
    assert [applied_partial(media_sender).uncovered for _ in range(2)] == [(), ()]


class TestWhatTheJournalKnows:
    """One complete of which the receiver confirmed nothing, and partials after it."""

    @pytest.fixture
    def scratch(self, tmp_path: Path) -> Path:
        remember_digests(tmp_path, DigestsOf(snapshot_at=at(0), computed_at=at(0)))
        return tmp_path

    def test_every_table_is_covered_up_to_the_complete(self, scratch: Path) -> None:
        leave_out(scratch, 5, "a")
        assert uncovered(scratch, 0) == set()

    def test_table_is_uncovered_from_the_partial_on_that_did_not_read_it(
        self, scratch: Path
    ) -> None:
        leave_out(scratch, 10, "a")
        assert [uncovered(scratch, minute) for minute in (5, 10, 99)] == [set(), {"a"}, {"a"}]

    def test_nothing_is_known_without_a_complete(self, tmp_path: Path) -> None:
        leave_out(tmp_path, 5, "a")
        assert uncovered(tmp_path, 5) == {"a", "b", "c"}

    def test_complete_that_is_only_dumped_covers_nothing(self, tmp_path: Path) -> None:
        """After a loss of the journal a partial carries all tables whole, and the next one not."""
        leave_out(tmp_path, 5, made_up=("a", "b", "c"))
        leave_out(tmp_path, 10, "a")
        remember_digests(tmp_path, DigestsOf(snapshot_at=at(15), computed_at=at(15)))
        leave_out(tmp_path, 20, "b")
        assert [uncovered(tmp_path, minute) for minute in (20, 99)] == [{"a", "b"}, {"a", "b"}]
        assert uncovered(tmp_path, 15) == set()

    def test_nothing_is_known_of_partials_before_the_loss_of_the_journal(
        self, scratch: Path
    ) -> None:
        remember_loss(scratch, begin_at(scratch, at(5), None), "abc", at(20))
        assert uncovered(scratch, 99) == set(), "it was not lost"
        remember_loss(scratch, at(10), "abc", at(20))
        assert [uncovered(scratch, minute) for minute in (9, 10, 99)] == [set(), *2 * [{*"abc"}]]
        leave_out(scratch, 25, made_up=("a", "b", "c"))
        assert uncovered(scratch, 25) == set()

    def test_partials_that_left_out_the_same_are_one_entry(self, scratch: Path) -> None:
        for minute, names in ((5, "a"), (10, "a"), (15, ""), (20, "a"), (25, "ab")):
            leave_out(scratch, minute, *names)
        found = [(one.first_at, one.last_at, one.names) for one in read_journal(scratch).unread]
        assert found == [(at(5), at(20), ("a",)), (at(25), at(25), ("a", "b"))]

    def test_table_that_a_partial_carried_whole_is_covered_if_the_receiver_has_it(
        self, scratch: Path
    ) -> None:
        """A later partial starts from it only then."""
        leave_out(scratch, 5, "a", "b")
        leave_out(scratch, 10, made_up=("a",))
        assert [uncovered(scratch, minute) for minute in (10, 15)] == [{"b"}, {"a", "b"}]

    def test_nothing_is_known_if_partials_since_the_complete_are_forgotten(
        self, scratch: Path
    ) -> None:
        for minute in range(1, MOST_UNREAD + 1):
            leave_out(scratch, minute, "ab"[minute % 2])
        assert uncovered(scratch, MOST_UNREAD) == {"a", "b", "c"}
        remember_digests(scratch, DigestsOf(snapshot_at=at(MOST_UNREAD), computed_at=at(0)))
        assert uncovered(scratch, MOST_UNREAD) == set()


def at(minute: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


def leave_out(scratch: Path, minute: int, *names: str, made_up: tuple[str, ...] = ()) -> None:
    moment = at(minute)
    now = UnreadTables(first_at=moment, last_at=moment, names=names, made_up=made_up)
    remember_unread(scratch, now)


def uncovered(scratch: Path, minute: int) -> set[str]:
    return {*uncovered_at(scratch, at(minute), frozenset("abc"))}


def applied_partial(pair: MediaSender) -> Manifest:
    """Make a partial and load it, so that the next one starts from it."""
    partial = pair.partial()
    assert pair.sites.load().refused == ()
    return partial


def never_read(pair: MediaSender, table: str) -> None:
    rules = pair.sites.catalog.table.get(table)
    assert rules is not None
    tables = {**pair.sites.catalog.table, table: rules.model_copy(update={"watermark": False})}
    pair.sites.catalog = pair.sites.catalog.model_copy(update={"table": tables})


def too_large(pair: MediaSender, table: str) -> Manifest:
    """Make and load a partial for which a table is too large to be read."""
    catalog = pair.sites.catalog
    never_read(pair, table)
    partial = applied_partial(pair)
    pair.sites.catalog = catalog
    return partial
