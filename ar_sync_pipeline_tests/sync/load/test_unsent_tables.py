"""A table that the sender no longer has is reported: the receiver's rows are no longer updated."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.sync.load.unsent_tables import unsent_in_words
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    recent_window,
    rows,
    watermark_of,
)

DROPPED = ("ALTER TABLE app_child RENAME TO old_child",)


@pytest.fixture
def loaded(filled: TwoSites) -> TwoSites:
    filled.complete()
    assert filled.load().unsent == ()
    return filled


def test_table_with_rows_is_named_until_the_receiver_follows(loaded: TwoSites) -> None:
    loaded.at_sender(*DROPPED)
    loaded.complete()
    assert loaded.load().unsent == ("app_child",)
    loaded.partial(recent_window())
    assert loaded.load().unsent == ("app_child",)
    loaded.at_receiver("ALTER TABLE app_child RENAME TO old_child")
    assert loaded.load().unsent == ()


@pytest.mark.parametrize(
    "statements",
    [
        DROPPED,
        ("DROP TABLE app_child",),
    ],
    ids=["renamed", "dropped"],
)
def test_partial_tells_it_and_a_later_archive_that_it_is_there_again(
    loaded: TwoSites, statements: tuple[str, ...]
) -> None:
    base = watermark_of(loaded.complete())
    loaded.load()
    loaded.at_sender(*statements)
    after = watermark_of(loaded.partial(recent_window(), since=base))
    assert loaded.load().unsent == ("app_child",)
    loaded.partial(recent_window(), since=after)
    assert loaded.load().unsent == ("app_child",)
    if statements == DROPPED:
        loaded.at_sender("ALTER TABLE old_child RENAME TO app_child")
        loaded.partial(recent_window(), since=after)
        assert loaded.load().unsent == ()
        assert equal(loaded)


def test_table_whose_rows_go_with_their_parents_is_named_all_the_same(loaded: TwoSites) -> None:
    loaded.at_sender(*DROPPED, "DELETE FROM old_child WHERE parent_id = 1",
                     "DELETE FROM app_parent WHERE id = 1")  # fmt: skip
    loaded.complete()
    report = loaded.load()
    assert [len(report.loaded), report.unsent] == [1, ("app_child",)]
    assert rows(loaded.receiver, "SELECT count(*) FROM app_child WHERE parent_id = 1") == [(0,)]
    said = unsent_in_words(report.unsent)
    assert "no longer updated, only deleted or cleared with rows to which they refer" in said


def test_table_that_a_partial_brings_after_the_complete_is_none(loaded: TwoSites) -> None:
    base = watermark_of(loaded.complete())
    loaded.load()
    new = "CREATE TABLE app_new (id integer PRIMARY KEY)"
    loaded.at_sender(new, "INSERT INTO app_new VALUES (1)")
    loaded.at_receiver(new)
    loaded.partial(recent_window(), since=base)
    report = loaded.load()
    assert (len(report.loaded), report.unsent) == (1, ())
    assert rows(loaded.receiver, "TABLE app_new") == [(1,)]
    loaded.at_sender("DROP TABLE app_new")
    loaded.complete()
    assert loaded.load().unsent == ("app_new",)


def test_empty_table_of_a_receiver_that_was_migrated_first_is_none(loaded: TwoSites) -> None:
    loaded.at_receiver("CREATE TABLE app_new (id integer PRIMARY KEY)")
    assert loaded.load().unsent == ()


def test_receiver_only_table_is_none(loaded: TwoSites) -> None:
    loaded.at_receiver("INSERT INTO app_note (parent_id) VALUES (1)")
    assert loaded.load().unsent == ()


def test_table_that_the_sender_never_had_is_named(loaded: TwoSites) -> None:
    loaded.at_receiver("CREATE TABLE app_new (id integer)", "INSERT INTO app_new VALUES (1)")
    assert loaded.load().unsent == ("app_new",)
    assert loaded.partial(recent_window())
    assert loaded.load().unsent == ("app_new",)
