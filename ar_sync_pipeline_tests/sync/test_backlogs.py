"""A long backlog is loaded in several transactions, since the lock table has a fixed size."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.spool.states import list_waiting
from ar_sync_pipeline.sync.load import lock_budget
from ar_sync_pipeline_tests.fix_sites import CHILDREN, TwoSites, equal, recent_window, watermark_of
from ar_sync_pipeline_tests.sync.test_order_and_holes import deliver, withhold


def partials(sites: TwoSites, count: int) -> list[Path]:
    """Send a complete and load it, then send partials, each of one changed row."""
    since = watermark_of(sites.complete())
    sites.load()
    made = []
    for number in range(count):
        sites.at_sender(f"UPDATE app_child SET amount = -{number} WHERE id = {number + 1}")
        made.append(sites.partial(recent_window(), since=since))
        since = watermark_of(made[-1])
    return made


def test_oldest_are_loaded_first_and_the_others_wait(
    filled: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = partials(filled, 3)
    monkeypatch.setattr(lock_budget, "_LOCKS_PER_TABLE", 1_000)
    first = filled.load()
    assert [one.manifest.name.waiting for one in first.loaded] == [made[0].name]
    assert [one.name.waiting for one in list_waiting(filled.spool)] == [p.name for p in made[1:]]
    assert first.refused == ()
    while list_waiting(filled.spool):
        assert len(filled.load().loaded) == 1
    assert equal(filled, CHILDREN)


def test_archives_that_follow_a_late_one_are_applied_with_it(
    filled: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers would else see the older state of the late one."""
    made = partials(filled, 3)
    late = withhold(made[0])
    filled.load()
    monkeypatch.setattr(lock_budget, "_LOCKS_PER_TABLE", 1_000)
    deliver(late)
    assert len(filled.load().loaded) == 3
    assert equal(filled, CHILDREN)


@pytest.mark.long
def test_backlog_of_a_day_fits_the_lock_table(filled: TwoSites) -> None:
    partials(filled, 60)
    loads = 0
    while list_waiting(filled.spool):
        assert filled.load().refused == ()
        loads += 1
    assert equal(filled, CHILDREN)
    assert loads < 5
