"""Receiver-only rows that another session adds for a row that a load is about to delete."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from ar_sync_pipeline.merge.planned_merge import plan_merge
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.sync.load.load_archives import LoadReport
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, rows

NOTES = "SELECT parent_id FROM app_note ORDER BY 1"
ADD_NOTES = "INSERT INTO app_note (parent_id, text) VALUES (7, 'gone'), (8, 'stays')"


@pytest.fixture
def deleted(filled: TwoSites) -> TwoSites:
    """Two equal servers; then the sender deletes a parent, and a complete waits."""
    filled.complete()
    filled.load()
    filled.at_sender(
        "DELETE FROM app_child WHERE parent_id = 7; DELETE FROM app_parent WHERE id = 7"
    )
    filled.complete()
    return filled


def test_rows_of_a_transform_that_works_on_the_parent_are_deleted_with_it(
    deleted: TwoSites,
) -> None:
    reports: list[LoadReport] = []
    load = threading.Thread(target=lambda: reports.append(deleted.load()))
    with connect(deleted.receiver, application="transform") as transform:
        with transform.transaction():
            transform.execute("SELECT FROM public.app_parent WHERE id = 7 FOR NO KEY UPDATE")
            load.start()
            load.join(timeout=1)
            assert load.is_alive()
            transform.execute(ADD_NOTES.replace("app_note", "public.app_note").encode())
        load.join(timeout=60)
    assert [report.refused for report in reports] == [()]
    assert rows(deleted.receiver, NOTES) == [(8,)]
    assert equal(deleted)


def test_no_row_is_added_to_a_parent_after_its_dependents_were_found(
    deleted: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan_later(*arguments: Any) -> object:
        with (
            connect(deleted.receiver, application="transform") as transform,
            pytest.raises(psycopg.errors.LockNotAvailable),
        ):
            transform.execute("SET lock_timeout = '200ms'")
            transform.execute("SELECT FROM public.app_parent WHERE id = 7 FOR NO KEY UPDATE")
        return plan_merge(*arguments)

    monkeypatch.setattr("ar_sync_pipeline.merge.apply.plan_merge", plan_later)
    assert deleted.load().refused == ()
    assert equal(deleted)
