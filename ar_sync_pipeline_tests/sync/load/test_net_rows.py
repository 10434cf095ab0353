"""A load of several archives says what it did as a whole: a row counts once, or not at all."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.sync.load.net_rows import NetRows
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, recent_window, watermark_of
from ar_sync_pipeline_tests.sync.load.test_order_and_gaps import deliver, withhold

TOUCH = "UPDATE app_child SET amount = {}, changed = now() WHERE id = ANY('{{1, 2, 3}}')"


def test_a_row_in_two_archives_of_a_load_is_counted_once(filled: TwoSites) -> None:
    first = watermark_of(filled.complete())
    filled.load()
    filled.at_sender(TOUCH.format(1001))
    filled.partial(recent_window(), since=first)
    filled.at_sender(TOUCH.format(1002), "INSERT INTO app_child (parent_id) VALUES (1)")
    filled.partial(recent_window(), since=first)
    report = filled.load()
    assert len(report.loaded) == 2
    assert sum(plan.changed for a in report.loaded for plan in a.tables) == 6
    assert report.net["app_child"] == NetRows(added=1, changed=3, deleted=0)
    assert equal(filled)


def test_a_late_archive_that_later_ones_overwrite_changes_nothing(filled: TwoSites) -> None:
    first = watermark_of(filled.complete())
    filled.load()
    filled.at_sender(TOUCH.format(1001))
    path = filled.partial(recent_window(), since=first)
    known, late = watermark_of(path), withhold(path)
    filled.at_sender(TOUCH.format(1002))
    filled.partial(recent_window(), since=known)
    filled.load()
    deliver(late)
    report = filled.load()
    assert [archive.again for archive in report.loaded] == [False, True]
    assert sum(plan.changed for a in report.loaded for plan in a.tables) == 6
    assert report.net["app_child"] == NetRows()
    assert equal(filled)


@pytest.mark.long
def test_rows_that_a_late_complete_deletes_for_a_time_are_not_counted(filled: TwoSites) -> None:
    first = watermark_of(filled.complete())
    filled.load()
    late = withhold(filled.complete(since=first))
    filled.at_sender(
        "INSERT INTO app_child (parent_id, amount) SELECT 1, n FROM generate_series(1, 5) n"
    )
    filled.partial(recent_window(), since=first)
    assert filled.load().net["app_child"].added == 5
    deliver(late)
    report = filled.load()
    assert report.net["app_child"] == NetRows()
    assert equal(filled)
