"""Rows that were stamped long before they were committed are in the next partial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, rows, watermark_of

TEN_MINUTES = timedelta(minutes=10)


@pytest.fixture(params=["read for the watermark", "too large for it"])
def sites(request: pytest.FixtureRequest, filled: TwoSites) -> TwoSites:
    """A table that is searched for new row versions, and one that only has its time stamp."""
    if request.param == "too large for it":
        filled.catalog = filled.catalog.model_copy(update={"watermark_limit_mb": 0})
    return filled


@contextmanager
def long_transaction(sites: TwoSites, stamped: datetime) -> Iterator[None]:
    """A transaction that writes at once and commits when the block ends, minutes later."""
    with psycopg.connect(sites.sender) as connection:
        connection.execute("SAVEPOINT nested")
        connection.execute(
            "INSERT INTO app_child (id, parent_id, changed) VALUES (9001, 3, %s)", [stamped]
        )
        connection.execute("RELEASE SAVEPOINT nested")
        connection.execute("UPDATE app_child SET amount = 9, changed = %s WHERE id = 5", [stamped])
        yield


def window_at(end: datetime) -> Window:
    return Window(start=end - timedelta(minutes=5), end=end)


def test_transaction_of_ten_minutes_that_commits_between_two_partials_is_in_the_next(
    sites: TwoSites,
) -> None:
    began = datetime.now(UTC)
    mark = watermark_of(sites.complete())
    with long_transaction(sites, began):
        # Two windows pass while it is open; the look-back reaches back one minute only.
        for minutes in (5, 10):
            window = window_at(began + timedelta(minutes=minutes))
            mark = watermark_of(sites.partial(window, minutes=1, since=mark))
        sites.load()
        assert rows(sites.receiver, "SELECT count(*) FROM app_child WHERE id = 9001") == [(0,)]
    sites.partial(window_at(began + TEN_MINUTES + timedelta(minutes=5)), minutes=1, since=mark)
    sites.load()
    assert equal(sites)


def test_rows_that_were_rolled_back_never_arrive(sites: TwoSites) -> None:
    mark = watermark_of(sites.complete())
    now = datetime.now(UTC)
    with psycopg.connect(sites.sender) as connection:
        connection.execute("INSERT INTO app_child (id, parent_id) VALUES (9001, 3)")
        mark = watermark_of(sites.partial(window_at(now), since=mark))
        connection.rollback()
    sites.partial(window_at(now + timedelta(minutes=5)), since=mark)
    sites.load()
    assert equal(sites)
