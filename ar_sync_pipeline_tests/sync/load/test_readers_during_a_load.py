"""No intermediate state is visible: two readers read all the time while completes are loaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from ar_sync_pipeline_tests.fix_sites import TwoSites, rows

STATE = """
SELECT (SELECT count(*) FROM app_parent), (SELECT count(*) FROM app_child),
       (SELECT count(*) FROM app_child LEFT JOIN app_parent p ON p.id = parent_id
         WHERE p.id IS NULL),
       (SELECT count(DISTINCT amount) FROM app_child)
"""


@contextmanager
def reader(url: str, seen: list[tuple[object, ...]]) -> Iterator[None]:
    """Start a thread that reads the tables, like the visualization site, until the block ends."""
    done = threading.Event()
    failures: list[Exception] = []

    def look() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not done.is_set():
                try:
                    seen.extend(connection.execute(STATE).fetchall())
                except psycopg.Error as error:
                    failures.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert failures == []


@pytest.mark.long
def test_readers_see_the_state_before_or_the_state_after(small_sites: TwoSites) -> None:
    sites = small_sites
    sites.at_sender(
        "INSERT INTO app_parent (code) SELECT 'c' || n FROM generate_series(1, 200) n",
        "INSERT INTO app_child (parent_id, amount) SELECT 1 + n % 200, 0"
        " FROM generate_series(1, 20000) n",
    )
    sites.complete()
    sites.load()
    seen: list[tuple[object, ...]] = []
    with reader(sites.receiver, seen), reader(sites.receiver, seen):
        for generation in (1, 2, 3):
            sites.at_sender(
                "BEGIN; DELETE FROM app_child WHERE parent_id % 3 = 0;"
                " DELETE FROM app_parent WHERE id % 3 = 0;"
                f" INSERT INTO app_parent (code) SELECT 'g{generation}' || n"
                " FROM generate_series(1, 60) n;"
                " INSERT INTO app_child (parent_id, amount) SELECT id, 0 FROM app_parent;"
                f" UPDATE app_child SET amount = {generation}; COMMIT"
            )
            sites.complete()
            sites.load()
    final = rows(sites.sender, STATE)[0]
    assert final in seen
    # The readers were there before a load and after one.
    assert 1 < len(set(seen)) <= 4
    for parents, children, orphans, amounts in seen:
        assert (orphans, amounts) == (0, 1)
        assert parents
        assert children
