"""Work that blocks others is terminated, and errors name the session that blocks the work."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import LiteralString

import psycopg
import pytest

from ar_sync_pipeline.postgres import blocking_watch
from ar_sync_pipeline.postgres.blocking_watch import end_when_blocking
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.errors import (
    BlockingEndedError,
    DatabaseUnreachableError,
    LockWaitError,
)
from ar_sync_pipeline.progress import progress_to
from ar_sync_pipeline_tests.postgres.scratch import Scratch
from ar_sync_pipeline_tests.waiting import until

_COMPUTE: LiteralString = """
DO $$ BEGIN
  WHILE clock_timestamp() < statement_timestamp() + interval '1 s' LOOP END LOOP;
END $$
"""


@pytest.fixture
def scratch(scratch: Scratch) -> Scratch:
    scratch.run("CREATE TABLE t (id integer PRIMARY KEY, name text)", "INSERT INTO t VALUES (1)")
    return scratch


def test_load_that_readers_wait_for_is_ended_and_rolled_back(scratch: Scratch) -> None:
    waits: list[float] = []
    locked = threading.Event()

    def look() -> None:
        locked.wait(30)
        began = time.monotonic()
        scratch.rows("SELECT name FROM t WHERE id = 1")
        waits.append(time.monotonic() - began)

    reader = threading.Thread(target=look)
    reader.start()
    with (
        pytest.raises(BlockingEndedError, match=r"the load was ended.*SELECT name FROM t WHERE id"),
        end_when_blocking(scratch.url, 1.0, work="the load") as watch,
        connect(scratch.url, application="load") as connection,
        watch.over(connection),
        connection.transaction(),
    ):
        connection.execute(f"LOCK TABLE {scratch.schema}.t".encode())
        connection.execute(f"UPDATE {scratch.schema}.t SET name = 'half'".encode())
        locked.set()
        connection.execute("SELECT pg_sleep(60)")
    reader.join()
    assert waits[0] < 20
    assert scratch.rows("SELECT name FROM t") == [(None,)]


@pytest.mark.parametrize(
    ("statement", "computes"),
    [
        (_COMPUTE, True),
        ("SELECT pg_sleep(1)", False),
    ],
)
def test_statement_that_computes_is_progress_and_one_that_waits_is_none(
    scratch: Scratch, statement: LiteralString, computes: bool
) -> None:
    """An index of a large table takes hours; the limit of the run ends what hangs."""
    signs = list[None]()
    with (
        progress_to(lambda: signs.append(None)),
        end_when_blocking(scratch.url, 0.4, work="the load") as watch,
        connect(scratch.url, application="load") as connection,
        watch.over(connection),
    ):
        signs.clear()
        connection.execute(statement)
    # A statement that waits may be met while it is planned or wakes up.
    assert (len(signs) > 1) == computes


def test_statement_that_computes_for_days_is_progress_no_longer(
    scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that never ends would hold the pool of all later loads, and nothing would tell."""
    monkeypatch.setattr(blocking_watch, "_LONGEST_STATEMENT", timedelta(seconds=0.3))
    signs = list[float]()
    with (
        progress_to(lambda: signs.append(time.monotonic())),
        end_when_blocking(scratch.url, 0.2, work="the load") as watch,
        connect(scratch.url, application="load") as connection,
        watch.over(connection),
    ):
        began = time.monotonic()
        connection.execute(_COMPUTE)
    assert signs
    assert max(signs) - began < 0.8


def test_watch_whose_listener_fails_ends_what_blocks_all_the_same(scratch: Scratch) -> None:
    reports, locked = list[None](), threading.Event()

    def fail() -> None:
        reports.append(None)
        raise RuntimeError("can't start new thread")

    def migrate() -> None:
        locked.wait(30)
        scratch.run("ALTER TABLE t ADD word text")

    thread = threading.Thread(target=migrate)
    thread.start()
    with (
        pytest.raises(BlockingEndedError),
        progress_to(fail),
        end_when_blocking(scratch.url, 0.4, work="the dump") as watch,
        connect(scratch.url, application="dump") as connection,
        watch.over(connection),
        connection.transaction(),
    ):
        connection.execute(f"SELECT * FROM {scratch.schema}.t".encode())
        connection.execute(_COMPUTE)
        locked.set()
        connection.execute("SELECT pg_sleep(20)")
    thread.join()
    assert reports


def test_session_that_idles_in_its_transaction_is_ended_too(scratch: Scratch) -> None:
    """The client may be reading a file meanwhile; cancelling a statement would release no lock."""
    locked = threading.Event()

    def migrate() -> None:
        locked.wait(30)
        scratch.run("ALTER TABLE t ADD word text")

    thread = threading.Thread(target=migrate)
    thread.start()
    with (
        pytest.raises(BlockingEndedError, match="ALTER TABLE t ADD word text"),
        end_when_blocking(scratch.url, 0.5, work="the load") as watch,
        connect(scratch.url, application="load") as connection,
        watch.over(connection),
        connection.transaction(),
    ):
        connection.execute(f"SELECT * FROM {scratch.schema}.t".encode())
        locked.set()
        thread.join(60)
        assert not thread.is_alive()
        connection.execute("SELECT 1")


@pytest.mark.long
def test_lock_that_is_given_up_names_its_holder(scratch: Scratch) -> None:
    with scratch.session() as other:
        other.execute("BEGIN")
        other.execute("UPDATE t SET name = 'Pedro' WHERE id = 1")
        with (
            pytest.raises(LockWaitError) as caught,
            end_when_blocking(scratch.url, 2.0, work="the load") as watch,
            connect(scratch.url, application="load") as connection,
            watch.over(connection),
            connection.transaction(),
        ):
            connection.execute("SET lock_timeout = '5s'")
            connection.execute(f"LOCK TABLE {scratch.schema}.t".encode())
        text = str(caught.value)
        assert f"process {other.info.backend_pid} (" in text
        assert "UPDATE t SET name, idle in transaction for" in text
        assert f"its lock on {scratch.schema}.t" in text
        assert "Pedro" not in text
        other.execute("ROLLBACK")


def test_other_errors_are_left_as_they_are(scratch: Scratch) -> None:
    with (
        pytest.raises(psycopg.errors.DivisionByZero),
        end_when_blocking(scratch.url, work="the load") as watch,
        connect(scratch.url, application="load") as connection,
        watch.over(connection),
    ):
        connection.execute("SELECT 1 / 0")


@pytest.mark.long
def test_waits_that_are_not_for_us_do_not_count(scratch: Scratch) -> None:
    done = threading.Event()

    def wait_for_somebody_else() -> None:
        with scratch.session() as session:
            session.execute("SET lock_timeout = '3s'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                session.execute("ALTER TABLE t ADD word text")
        done.set()

    with scratch.session() as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM t")
        thread = threading.Thread(target=wait_for_somebody_else)
        with (
            end_when_blocking(scratch.url, 0.5, work="the load") as watch,
            connect(scratch.url, application="load") as connection,
            watch.over(connection),
        ):
            thread.start()
            done.wait(30)
            assert connection.execute("SELECT 1").fetchone() == (1,)
        thread.join()


BUILDS = "SELECT FROM pg_locks WHERE locktype = 'virtualxid' AND NOT granted"


@pytest.mark.long
def test_index_that_is_built_concurrently_waits_for_our_snapshot_and_keeps_nobody_waiting(
    scratch: Scratch,
) -> None:
    scratch.run("CREATE TABLE other (v int)")
    build = threading.Thread(target=scratch.run, args=("CREATE INDEX CONCURRENTLY ON other (v)",))
    with (
        end_when_blocking(scratch.url, 0.5, work="the dump") as watch,
        connect(scratch.url, application="dump") as connection,
        watch.over(connection),
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute(f"SELECT * FROM {scratch.schema}.t".encode())
        build.start()
        until(lambda: scratch.rows(BUILDS), "the build waits for our snapshot")
        connection.execute("SELECT pg_sleep(3)")
    build.join()


@pytest.mark.long
def test_statement_that_waits_for_an_index_build_that_waits_for_us_counts(
    scratch: Scratch,
) -> None:
    scratch.run("CREATE TABLE other (v int)")
    build = threading.Thread(target=scratch.run, args=("CREATE INDEX CONCURRENTLY ON other (v)",))
    alter = threading.Thread(target=scratch.run, args=("ALTER TABLE other ADD word text",))
    with (
        pytest.raises(BlockingEndedError, match="ALTER TABLE other ADD word text"),
        end_when_blocking(scratch.url, 0.5, work="the dump") as watch,
        connect(scratch.url, application="dump") as connection,
        watch.over(connection),
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute(f"SELECT * FROM {scratch.schema}.t".encode())
        build.start()
        until(lambda: scratch.rows(BUILDS), "the build waits for our snapshot")
        alter.start()
        connection.execute("SELECT pg_sleep(30)")
    build.join()
    alter.join()


def test_watch_that_loses_its_connection_watches_again(scratch: Scratch) -> None:
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'ar_sync lock watch' AND datname = current_database()"
    )
    locked = threading.Event()

    def migrate() -> None:
        locked.wait(30)
        scratch.run("ALTER TABLE t ADD word text")

    thread = threading.Thread(target=migrate)
    thread.start()
    with (
        pytest.raises(BlockingEndedError),
        end_when_blocking(scratch.url, 1.0, work="the load") as watch,
        connect(scratch.url, application="load") as connection,
        watch.over(connection),
        connection.transaction(),
    ):
        scratch.run(end)
        connection.execute(f"SELECT * FROM {scratch.schema}.t".encode())
        locked.set()
        connection.execute("SELECT pg_sleep(60)")
    thread.join()


def test_watch_that_cannot_begin_says_why() -> None:
    with (
        pytest.raises(DatabaseUnreachableError),
        end_when_blocking("host=127.0.0.1 port=1 dbname=x user=x", work="the load"),
    ):
        pass
