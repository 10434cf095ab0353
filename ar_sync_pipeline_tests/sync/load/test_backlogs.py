"""A long backlog is loaded in several transactions, since the lock table has a fixed size."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.lock_table import read_lock_table
from ar_sync_pipeline.spool.states import list_waiting
from ar_sync_pipeline.sync.load import lock_budget
from ar_sync_pipeline.sync.load.preview import Verdict, preview_load
from ar_sync_pipeline_tests.fix_sites import CHILDREN, TwoSites, equal, recent_window, watermark_of
from ar_sync_pipeline_tests.sync.load.test_order_and_gaps import applied, deliver, withhold


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


@pytest.mark.long
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
    needs(filled, monkeypatch, share=0.9, tables=6)
    deliver(late)
    assert len(filled.load().loaded) == 3
    assert equal(filled, CHILDREN)


def test_late_archive_with_too_many_after_it_is_parked_and_the_others_are_loaded(
    filled: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = partials(filled, 3)
    late = withhold(made[0])
    filled.load()
    filled.at_sender("UPDATE app_child SET amount = 77, changed = now() WHERE id = 9")
    newest = filled.partial(recent_window(), since=watermark_of(applied(made[-1])))
    with monkeypatch.context() as patched:
        needs(filled, patched, share=1.1, tables=6)
        deliver(late)
        report = filled.load()
        assert [one.manifest.name.waiting for one in report.loaded] == [newest.name]
        (refused,) = report.refused
        assert "came late" in refused.problem
        assert "set max_locks_per_transaction of that server to" in refused.remedy
    assert len(filled.load().loaded) == 4
    assert equal(filled, CHILDREN)


def test_first_complete_with_too_many_partials_after_it_is_parked_until_the_server_allows_them(
    filled: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded alone it would delete their newer rows, with what is the receiver's own of these."""
    complete = filled.complete()
    since = watermark_of(complete)
    late = withhold(complete)
    for number in range(3):
        filled.at_sender(f"UPDATE app_child SET amount = -{number} WHERE id = {number + 1}")
        since = watermark_of(filled.partial(recent_window(), since=since))
    filled.load()
    deliver(late)
    with monkeypatch.context() as patched:
        needs(filled, patched, share=1.1, tables=8)
        (refused,) = filled.load().refused
        assert "max_locks_per_transaction" in refused.remedy
    assert len(filled.load().loaded) == 4
    assert equal(filled, CHILDREN)


def test_preview_of_a_late_archive_names_the_locks_that_it_needs(
    filled: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = partials(filled, 3)[0]
    withheld = withhold(late)
    filled.load()
    deliver(withheld)
    needs(filled, monkeypatch, share=1.1, tables=6)
    preview = preview_load(filled.settings, filled.catalog, late, filled.clock)
    assert preview.verdict is Verdict.PARKED
    assert "max_locks_per_transaction" in preview.reason


def needs(sites: TwoSites, monkeypatch: pytest.MonkeyPatch, *, share: float, tables: int) -> None:
    """Let this number of tables of archives need a share of the lock table."""
    with connect(sites.receiver, application="test") as connection:
        size = read_lock_table(connection).size
    monkeypatch.setattr(lock_budget, "_LOCKS_PER_TABLE", int(size * share / tables))


@pytest.mark.long
def test_backlog_of_a_day_fits_the_lock_table(filled: TwoSites) -> None:
    partials(filled, 60)
    loads = 0
    while list_waiting(filled.spool):
        assert filled.load().refused == ()
        loads += 1
    assert equal(filled, CHILDREN)
    assert loads < 5
