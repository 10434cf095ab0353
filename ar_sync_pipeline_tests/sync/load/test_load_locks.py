"""A load makes no session wait long: neither readers of empty tables nor migrations."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest

from ar_sync_pipeline.merge import filling
from ar_sync_pipeline.postgres.errors import LockWaitError
from ar_sync_pipeline.sync.load.load_archives import load_archives
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, rows
from ar_sync_pipeline_tests.waiting import until

LIMIT_SECONDS = 1


@pytest.fixture
def sites(small_sites: TwoSites, monkeypatch: pytest.MonkeyPatch) -> TwoSites:
    """Return a first load into tables with indexes and enough rows for a lock."""
    monkeypatch.setattr(filling, "_WORTH_A_LOCK_ROWS", 2000)
    small_sites.environ["AR_SYNC_MAX_BLOCKING_SECONDS"] = str(LIMIT_SECONDS)
    small_sites.at_sender(
        "INSERT INTO app_parent (code) SELECT 'c' || n FROM generate_series(1, 50) n",
        "INSERT INTO app_child (parent_id, amount) SELECT 1 + n % 50, n"
        " FROM generate_series(1, 2000) n",
    )
    small_sites.at_receiver("CREATE INDEX plain ON app_child (parent_id)")
    return small_sites


SLOW = (
    (
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN PERFORM pg_sleep(3); RETURN NULL; END$$"
    ),
    (
        "CREATE TRIGGER slow AFTER INSERT ON app_parent FOR EACH STATEMENT"
        " EXECUTE FUNCTION public.slow()"
    ),
    "ALTER TABLE app_parent ENABLE ALWAYS TRIGGER slow",
)


@pytest.mark.long
def test_admission_names_who_holds_the_lock_that_it_does_not_get(sites: TwoSites) -> None:
    sites.complete()
    sites.receiver += "?options=-c%20lock_timeout%3D2s"
    with psycopg.connect(sites.receiver, application_name="of_a_person") as other:
        other.execute("LOCK TABLE app_child")
        with pytest.raises(
            LockWaitError, match=r"lock on public\.app_child, held by .*of_a_person"
        ):
            sites.admit()


@pytest.mark.long
def test_readers_of_empty_tables_end_a_load_which_continues_without_their_locks(
    sites: TwoSites,
) -> None:
    sites.at_receiver(*SLOW)
    sites.complete()
    waits: list[float] = []
    stop = threading.Event()

    def read() -> None:
        with psycopg.connect(sites.receiver, autocommit=True) as connection:
            while not stop.wait(0.1):
                started = time.monotonic()
                connection.execute("SELECT count(*) FROM app_child")
                waits.append(time.monotonic() - started)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        report = sites.load()
    finally:
        stop.set()
        reader.join()
    assert len(report.loaded) == 1
    assert equal(sites)
    assert max(waits) < LIMIT_SECONDS + 4
    assert "(SELECT count" in (report.obstacle or "")
    assert "AR_SYNC_MAX_BLOCKING_SECONDS" in (report.obstacle or "")


@pytest.mark.long
def test_forgotten_lock_is_named_with_its_session(sites: TwoSites) -> None:
    sites.complete()
    sites.load()
    sites.at_sender("UPDATE app_child SET amount = -amount")
    sites.complete()
    with forgotten_lock(sites.receiver) as pid, pytest.raises(LockWaitError, match=str(pid)):
        with_short_waits(sites).load()
    assert sites.load().loaded
    assert equal(sites)


SLOW_AT_FIRST = (
    "CREATE TABLE public.is_slow AS SELECT 600 AS seconds",
    (
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN PERFORM pg_sleep(seconds) FROM public.is_slow; RETURN NULL; END$$"
    ),
    *SLOW[1:],
)
SLEEPING = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'ar_sync load' AND wait_event = 'PgSleep'"
)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.mark.long
def test_load_that_is_killed_in_a_long_statement_does_not_stop_its_retry(sites: TwoSites) -> None:
    sites.at_receiver(*SLOW_AT_FIRST)
    sites.complete()
    names = sites.admit().names
    killed = multiprocessing.get_context("spawn").Process(
        target=load_archives, args=(sites.settings, sites.catalog, names, now)
    )
    killed.start()
    until(lambda: rows(sites.receiver, SLEEPING), "the load is in its statement")
    killed.kill()
    killed.join()
    sites.at_receiver("DELETE FROM public.is_slow")
    assert sites.load().loaded
    assert equal(sites)


@contextmanager
def forgotten_lock(url: str) -> Iterator[int]:
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE app_child IN SHARE MODE")
        yield connection.info.backend_pid


def with_short_waits(sites: TwoSites) -> TwoSites:
    """Return the same sites with a lock timeout of two seconds in the receiver's URL."""
    return TwoSites(
        sites.sender,
        f"{sites.receiver}?options=-c%20lock_timeout%3D2s",
        sites.catalog,
        sites.folder,
        sites.environ,
    )


@pytest.mark.long
def test_nothing_is_left_of_a_load_that_was_ended(sites: TwoSites) -> None:
    sites.complete()
    with forgotten_lock(sites.receiver), pytest.raises(LockWaitError):
        with_short_waits(sites).load()
    assert rows(sites.receiver, "SELECT count(*) FROM app_child") == [(0,)]
    assert sites.load().loaded
