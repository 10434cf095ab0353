"""A dump and other sessions' locks: no long waits, and errors name the blocking session."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.errors import TransientError
from ar_sync_pipeline.export import dump_session, source_tables, table_export, whole_tables
from ar_sync_pipeline.export.errors import TablesChangingError
from ar_sync_pipeline.export.locks import lock_tables
from ar_sync_pipeline.export.ruled_values import RuledBefore
from ar_sync_pipeline.export.snapshot import join_snapshot
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.errors import BlockingEndedError, LockWaitError, SchemaError
from ar_sync_pipeline.postgres.other_sessions import first_words
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline_tests.export.source import Source, catalog, row_counts, table

TABLES = (
    "CREATE TABLE t_a (id serial PRIMARY KEY, name text)",
    "CREATE TABLE t_b (id serial PRIMARY KEY, a integer REFERENCES t_a)",
    "INSERT INTO t_a (name) SELECT 'n' || n FROM generate_series(1, 100) n",
    "INSERT INTO t_b (a) SELECT n FROM generate_series(1, 100) n",
)

UNTIL_SOMEBODY_WAITS = """
DO $$ BEGIN
  FOR n IN 1..200 LOOP
    PERFORM pg_sleep(0.05);
    EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE NOT granted);
  END LOOP;
END $$
"""


@pytest.fixture
def source(source: Source, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setattr(dump_session, "_PAUSES_SECONDS", (0.05, 0.1))
    source.run(*TABLES)
    return source


@contextmanager
def before_locking(
    monkeypatch: pytest.MonkeyPatch, *actions: Callable[[], object]
) -> Iterator[None]:
    """Run an action between the first read of the tables' facts and the locks, once per attempt."""
    left = list(actions)
    read = source_tables.replicated_tables
    calls = [0]

    def replicated(
        connection: Connection, catalog: Catalog, before: RuledBefore
    ) -> dict[str, TableFacts]:
        found = read(connection, catalog, before)
        inside = connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE
        if not inside and left:
            calls[0] += 1
            left.pop(0)()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(dump_session, "replicated_tables", replicated)
        yield
    assert calls[0] == len(actions)


@contextmanager
def held(source: Source, *statements: str) -> Iterator[int]:
    """Yield the process id of another session that holds the locks of its statements."""
    with source.session(*statements) as session:
        yield session.info.backend_pid
        session.rollback()


def test_snapshot_is_taken_after_the_locks(source: Source) -> None:
    with connect(source.url, application="test") as connection:
        tables = read_tables(connection, "public", lambda _: True)
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with connection.transaction():
            lock_tables(connection, tables.values())
            source.run("INSERT INTO t_a (name) VALUES ('after the locks')")
            assert connection.execute("SELECT count(*) FROM public.t_a").fetchone() == (101,)


def test_truncation_before_the_locks_is_seen(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swap_content() -> None:
        source.run("BEGIN; TRUNCATE t_b; INSERT INTO t_b (a) VALUES (1), (2); COMMIT")

    with before_locking(monkeypatch, swap_content):
        dump = source.complete()
    assert row_counts(dump) == {"t_a": 100, "t_b": 2}


def test_migration_before_the_locks_starts_the_dump_again(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    with before_locking(
        monkeypatch, lambda: source.run("ALTER TABLE t_a ADD word text DEFAULT 'x'")
    ):
        dump = source.complete()
    found = table(dump, "t_a")
    assert found is not None
    assert [column.name for column in found.columns] == ["id", "name", "word"]


def test_table_that_is_dropped_before_the_locks_is_left_out(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    with before_locking(monkeypatch, lambda: source.run("DROP TABLE t_b")):
        assert row_counts(source.complete()) == {"t_a": 100}


def test_value_that_loses_its_rule_before_the_locks_is_refused(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The definitions of the two tables are alike before and after."""
    source.run("CREATE TABLE t_c (LIKE t_a)", "CREATE TABLE t_d (LIKE t_a)")
    source.catalog = catalog(table={"t_c": {"exclude": ["name"]}})
    source.complete()
    names = ("t_c", "t_x"), ("t_d", "t_c"), ("t_x", "t_d")
    swap = [f"ALTER TABLE {old} RENAME TO {new}" for old, new in names]
    with (
        before_locking(monkeypatch, lambda: source.run(*swap)),
        pytest.raises(SchemaError, match="these values are now in name of table t_d"),
    ):
        source.complete()


def test_policy_before_the_locks_is_found(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.run("CREATE TABLE t_c (id integer PRIMARY KEY)")
    add = "ALTER TABLE t_c ADD COLUMN c{} integer"
    migrations = [lambda n=n: source.run(add.format(n)) for n in range(3)]
    with before_locking(monkeypatch, *migrations), pytest.raises(TablesChangingError, match="t_c"):
        source.complete()


@pytest.mark.parametrize(
    "statement",
    [
        "LOCK TABLE t_b IN ACCESS EXCLUSIVE MODE",
        "ALTER TABLE t_b ADD secret text DEFAULT 'Pedro'",
        "TRUNCATE t_b",
        "REINDEX INDEX t_b_pkey",
    ],
)
def test_forgotten_lock_is_named_with_its_session(source: Source, statement: str) -> None:
    with held(source, statement) as pid, pytest.raises(LockWaitError) as caught:
        source.complete()
    assert isinstance(caught.value, TransientError)
    text = str(caught.value)
    assert f"process {pid} (migration, {statement.split(maxsplit=1)[0]}" in text
    assert "idle in transaction for" in text
    assert "t_b" in text
    assert "Pedro" not in text
    assert "\n" not in text


def test_lock_that_another_session_awaits_names_both(source: Source) -> None:
    with held(source, "SELECT count(*) FROM t_b") as reader:
        waiting = threading.Thread(target=lambda: source.run("ALTER TABLE t_b ADD word text"))
        waiting.start()
        with pytest.raises(LockWaitError) as caught:
            while True:
                source.complete()
                source.run(UNTIL_SOMEBODY_WAITS)
        text = str(caught.value)
        assert "(ALTER TABLE t_b ADD word text, active) waits already" in text
        assert f"kept waiting by process {reader} (migration, SELECT count, idle in" in text
        assert f"pg_terminate_backend({reader})" in caught.value.remedy
    waiting.join()


def test_locked_sequence_is_named(source: Source) -> None:
    with (
        held(source, "ALTER SEQUENCE t_b_id_seq OWNED BY NONE", "DROP SEQUENCE t_b_id_seq CASCADE"),
        pytest.raises(LockWaitError, match="t_b"),
    ):
        source.complete()


def test_forgotten_prepared_transaction_is_named(source: Source) -> None:
    source.run("BEGIN; LOCK TABLE t_b; PREPARE TRANSACTION 'forgotten'")
    try:
        with pytest.raises(LockWaitError, match="pg_prepared_xacts"):
            source.complete()
    finally:
        source.run("ROLLBACK PREPARED 'forgotten'")


def test_lock_that_is_given_back_lets_the_dump_begin(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dump_session, "_PAUSES_SECONDS", (0.1,) * 100)
    with source.session("LOCK TABLE t_b") as session:
        timer = threading.Timer(1.5, session.rollback)
        timer.start()
        assert row_counts(source.complete()) == {"t_a": 100, "t_b": 100}
        timer.join()


def test_migration_between_the_locks_of_two_connections_starts_the_dump_again(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations = list[threading.Thread]()

    def migrate_and_join(url: str, exported: str) -> AbstractContextManager[Connection]:
        if not migrations:
            migrate = partial(source.run, "ALTER TABLE t_b ADD word text DEFAULT 'x'")
            migrations.append(threading.Thread(target=migrate))
            migrations[0].start()
            source.run(UNTIL_SOMEBODY_WAITS)
        return join_snapshot(url, exported)

    monkeypatch.setattr(dump_session, "join_snapshot", migrate_and_join)
    found = table(source.complete(), "t_b")
    migrations[0].join()
    assert found is not None
    assert [column.name for column in found.columns] == ["id", "a", "word"]


def test_locked_table_outside_the_catalog_does_not_matter(source: Source) -> None:
    source.run("CREATE TABLE other (id integer PRIMARY KEY)")
    with held(source, "LOCK TABLE other"):
        assert row_counts(source.complete()) == {"t_a": 100, "t_b": 100}


def slow(seconds: float, reading: threading.Event) -> Callable[..., Any]:
    """Return a writer of chunks that is slow on the server."""
    write = table_export.write_chunk

    def write_slowly(connection: Connection, *rest: Any) -> Any:
        reading.set()
        connection.execute(f"SELECT pg_sleep({seconds})".encode())
        return write(connection, *rest)

    return write_slowly


def test_dump_that_production_waits_for_is_ended_and_names_the_statement(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.limit_seconds = 1.0
    reading = threading.Event()
    monkeypatch.setattr(whole_tables, "write_chunk", slow(60, reading))
    waits: list[float] = []

    def migrate() -> None:
        reading.wait(30)
        began = time.monotonic()
        with source.session("ALTER TABLE t_a ADD secret text DEFAULT 'Pedro'"):
            waits.append(time.monotonic() - began)

    def look() -> None:
        reading.wait(30)
        time.sleep(0.3)
        began = time.monotonic()
        source.run("SELECT count(*) FROM t_a")
        waits.append(time.monotonic() - began)

    threads = [threading.Thread(target=target) for target in (migrate, look)]
    for thread in threads:
        thread.start()
    with pytest.raises(BlockingEndedError) as caught:
        source.complete()
    for thread in threads:
        thread.join()
    assert isinstance(caught.value, TransientError)
    text = str(caught.value)
    assert "(migration, ALTER TABLE t_a ADD" in text
    assert "its lock on public.t_a" in text
    assert "AR_SYNC_MAX_BLOCKING_SECONDS" in text
    assert "Pedro" not in text
    assert len(waits) == 2
    assert max(waits) < 20  # far below the dump's minute, far above the delay of a busy machine


def test_statement_that_waits_for_less_is_let_wait(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = threading.Event()
    monkeypatch.setattr(whole_tables, "write_chunk", slow(0.5, reading))

    def migrate() -> None:
        reading.wait(30)
        source.run("ALTER TABLE t_a ADD word text")

    thread = threading.Thread(target=migrate)
    thread.start()
    dump = source.complete()
    thread.join()
    assert row_counts(dump) == {"t_a": 100, "t_b": 100}


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("ALTER TABLE t ADD c text DEFAULT 'x'", "ALTER TABLE t ADD c text DEFAULT"),
        ("update users set mail='a@b.c' where id=7", "update users set mail"),
        ("/* Pedro */ SELECT 1", "SELECT"),
        ('INSERT INTO "T b" (x) VALUES (1)', 'INSERT INTO "T b"'),
        ("'Pedro'", ""),
        (None, ""),
    ],
)
def test_words_of_a_statement_hold_no_value(statement: str | None, shown: str) -> None:
    assert first_words(statement) == shown
