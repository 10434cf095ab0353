"""Fifty random DDL statements at random times of dumps: no long waits, and no dump hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from ar_sync_pipeline.errors import TransientError
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.dump_tables import SenderDatabase, dump_complete
from ar_sync_pipeline_tests.background_threads import until_done
from ar_sync_pipeline_tests.export.source import Source, now
from ar_sync_pipeline_tests.timed_statements import TimedStatements, recorded_random

STATEMENTS = 50
LIMIT_SECONDS = 2.0
# A wait is at most the limit plus the delay of a busy machine; a deadlock would last for ever.
LONGEST_WAIT_SECONDS = 20.0
DDL = (
    "ALTER TABLE t_a ADD c{n} integer DEFAULT {n}",
    "ALTER TABLE t_b ADD c{n} text",
    'ALTER TABLE t_a ALTER name TYPE text COLLATE "C"',
    "TRUNCATE t_c",
    "BEGIN; TRUNCATE t_c; INSERT INTO t_c SELECT n FROM generate_series(1, 500) n; COMMIT",
    "CREATE INDEX i{n} ON t_a (name)",
    "CREATE INDEX CONCURRENTLY j{n} ON t_b (id, a)",
    "REINDEX TABLE t_b",
    "REINDEX INDEX t_a_pkey",
    "VACUUM FULL other",
    "VACUUM FULL t_c",
    "DROP INDEX IF EXISTS i{previous}",
    "ALTER TABLE t_b DISABLE TRIGGER ALL",
    "LOCK TABLE t_a",
    "CREATE TABLE t_n{n} (id integer PRIMARY KEY)",
    "DROP TABLE IF EXISTS t_n{previous}",
    "ALTER TABLE t_p ATTACH PARTITION t_p{n} FOR VALUES IN ({n})",
    "ALTER SEQUENCE t_a_id_seq RESTART WITH 1000000",
    "CLUSTER t_a USING t_a_pkey",
)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_random_ddl_neither_waits_for_long_nor_hangs_a_dump(
    source: Source, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    source.run(
        "CREATE TABLE t_a (id serial PRIMARY KEY, name text)",
        "CREATE TABLE t_b (id serial PRIMARY KEY, a integer)",
        "CREATE TABLE t_c (id integer PRIMARY KEY)",
        "CREATE TABLE t_p (id integer PRIMARY KEY) PARTITION BY LIST (id)",
        "CREATE TABLE other (id integer)",
        "INSERT INTO t_a (name) SELECT repeat(md5(n::text), 4) FROM generate_series(1, 150000) n",
        "INSERT INTO t_b (a) SELECT n FROM generate_series(1, 50000) n",
    )
    statements = TimedStatements()
    outcomes: list[str] = []
    drawn = recorded_random(record_property)

    def migrate(done: threading.Event) -> None:
        with psycopg.connect(source.url, autocommit=True) as connection:
            for n in range(STATEMENTS):
                if "t_p" in (chosen := drawn.choice(DDL)):
                    connection.execute(f"CREATE TABLE t_p{n} (id integer NOT NULL)".encode())
                statements.run(connection, chosen.format(n=n, previous=n - 1))
                done.wait(drawn.uniform(0, 0.2))
        finished.set()

    def look(done: threading.Event) -> None:
        with psycopg.connect(source.url, autocommit=True) as connection:
            while not done.wait(0.02):
                statements.run(connection, "SELECT count(*) FROM t_c")
                statements.run(connection, "SELECT max(id) FROM t_a")
                statements.run(connection, "UPDATE t_b SET a = a WHERE id = 1")

    finished = threading.Event()
    deadline = time.monotonic() + 300
    with until_done(migrate, look):
        while not finished.is_set() and time.monotonic() < deadline:
            build = open_build(tmp_path, uuid4().hex)
            try:
                dump_complete(SenderDatabase(source.url, source.catalog, now, LIMIT_SECONDS), build)
                outcomes.append("complete")
            except TransientError as error:
                outcomes.append(type(error).__name__)
            build.remove()
    statement, longest = statements.longest
    record_property("longest_wait_seconds", round(longest, 1))
    assert finished.is_set()
    assert longest < LONGEST_WAIT_SECONDS, (statement, outcomes)
    # When the migrations are over, a dump succeeds.
    assert dump_complete(
        SenderDatabase(source.url, source.catalog, now), open_build(tmp_path, "last")
    ).tables
