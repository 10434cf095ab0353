"""Fifty random DDL statements at the receiver at random times of loads; no long waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from ar_sync_pipeline.errors import TransientError
from ar_sync_pipeline_tests.background_threads import until_done
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal
from ar_sync_pipeline_tests.timed_statements import TimedStatements, recorded_random

STATEMENTS = 50
LIMIT_SECONDS = 2
# A wait is at most the limit plus the delay of a busy machine; a deadlock would last for ever.
LONGEST_WAIT_SECONDS = 20.0
DDL = (
    "ALTER TABLE app_parent ADD c{n} integer DEFAULT {n}",
    "ALTER TABLE app_child ADD c{n} text",
    "ALTER TABLE app_parent DROP COLUMN IF EXISTS c{previous}",
    "TRUNCATE app_note",
    "CREATE INDEX i{n} ON app_child (amount)",
    "CREATE INDEX CONCURRENTLY j{n} ON app_child (parent_id)",
    "DROP INDEX IF EXISTS i{previous}",
    "REINDEX TABLE app_child",
    "VACUUM FULL app_note",
    "LOCK TABLE app_parent",
    "ALTER TABLE app_child DISABLE TRIGGER USER",
)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_random_ddl_neither_waits_for_long_nor_keeps_the_receiver_from_being_equal(
    filled: TwoSites, record_property: Callable[[str, object], None]
) -> None:
    filled.environ["AR_SYNC_MAX_BLOCKING_SECONDS"] = str(LIMIT_SECONDS)
    filled.complete()
    filled.load()
    statements = TimedStatements()
    outcomes: list[str] = []
    drawn = recorded_random(record_property)
    finished = threading.Event()

    def migrate(done: threading.Event) -> None:
        with psycopg.connect(filled.receiver, autocommit=True) as connection:
            for n in range(STATEMENTS):
                statements.run(connection, drawn.choice(DDL).format(n=n, previous=n - 1))
                done.wait(drawn.uniform(0, 0.2))
        finished.set()

    def read(done: threading.Event) -> None:
        with psycopg.connect(filled.receiver, autocommit=True) as connection:
            while not done.wait(0.02):
                statements.run(connection, "SELECT count(*) FROM app_child")
                statements.run(connection, "SELECT max(id) FROM app_parent")

    deadline = time.monotonic() + 300
    with until_done(migrate, read):
        while not finished.is_set() and time.monotonic() < deadline:
            filled.at_sender("UPDATE app_child SET amount = amount + 1 WHERE id % 3 = 0")
            filled.complete()
            try:
                outcomes += [r.code for r in filled.load().refused] or ["loaded"]
            except TransientError as error:
                outcomes.append(type(error).__name__)
    statement, longest = statements.longest
    record_property("longest_wait_seconds", round(longest, 1))
    assert finished.is_set()
    assert longest < LONGEST_WAIT_SECONDS, (statement, outcomes)
    # When the migrations are over, a load succeeds.
    filled.complete()
    filled.load()
    assert equal(filled)
