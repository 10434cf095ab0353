"""The snapshot of an archive: in order, in its history, and with no more rights than needed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.export.snapshot import join_snapshot, take_snapshot
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    execute,
    recent_window,
    rows,
    watermark_of,
)
from ar_sync_pipeline_tests.waiting import until

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
READER = "ar_sync_test_reader"


@pytest.fixture
def reader(filled: TwoSites) -> Iterator[str]:
    """Yield the URL of a role that may read the application's tables and nothing else."""
    execute(
        filled.sender,
        f"DROP ROLE IF EXISTS {READER}",
        f"CREATE ROLE {READER} LOGIN",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}",
        f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {READER}",
    )
    yield make_conninfo(filled.sender, user=READER)
    execute(filled.sender, f"DROP OWNED BY {READER}", f"DROP ROLE {READER}")


def take(url: str, now: datetime = NOON, after: datetime | None = None) -> Watermark:
    with (
        connect(url, application="test") as connection,
        take_snapshot(connection, lambda: now, after=after) as snapshot,
    ):
        return snapshot.watermark


def test_role_that_can_only_read_makes_both_kinds_of_archive(filled: TwoSites, reader: str) -> None:
    owner, filled.sender = filled.sender, reader
    base = watermark_of(filled.complete())
    filled.load()
    filled.sender = owner
    filled.at_sender("UPDATE app_child SET amount = 1 WHERE id = 1")
    filled.sender = reader
    filled.partial(recent_window(), since=base)
    filled.load()
    filled.sender = owner
    assert equal(filled)


def test_start_of_the_oldest_transaction_is_known_to_roles_that_may_see_it(
    filled: TwoSites, reader: str
) -> None:
    with psycopg.connect(filled.sender) as writer:
        began = writer.execute("SELECT now()").fetchone()
        assert began is not None
        assert take(reader).oldest_write_at is None
        execute(filled.sender, f"GRANT pg_read_all_stats TO {READER}")
        assert take(reader).oldest_write_at == began[0]
    seen = take(reader).oldest_write_at
    assert seen is not None
    assert seen > began[0]


def test_start_is_unknown_while_a_session_that_shows_none_has_a_transaction(
    filled: TwoSites,
) -> None:
    """It may not have written yet, and its first statement may set the time at which it began."""
    with psycopg.connect(filled.sender, options="-c track_activities=off") as writer:
        assert take(filled.sender).oldest_write_at is not None
        writer.execute("SELECT")
        assert take(filled.sender).oldest_write_at is None
        writer.commit()
        assert take(filled.sender).oldest_write_at is not None


def test_start_is_unknown_if_the_session_showed_its_transactions_too_late(
    filled: TwoSites,
) -> None:
    with psycopg.connect(filled.sender, options="-c track_activities=off") as writer:
        writer.execute("SET track_activities = on")
        assert take(filled.sender).oldest_write_at is None


# What PostgreSQL shows of a session in the milliseconds before it says what it does.
UNSTATED = """
CREATE SCHEMA unstated CREATE VIEW pg_stat_activity AS
SELECT datname, pid, usename, application_name, backend_type, NULL::text AS state,
       NULL::timestamptz AS xact_start, backend_start - interval '{age}' AS backend_start
  FROM pg_catalog.pg_stat_activity WHERE application_name = 'connecting'
"""


@pytest.mark.parametrize("age", ["1 second", "1 hour"])
def test_session_that_is_connecting_writes_nothing_from_before_its_connection(
    filled: TwoSites, age: str
) -> None:
    execute(filled.sender, UNSTATED.format(age=age))
    with (
        psycopg.connect(filled.sender, application_name="connecting") as writer,
        connect(filled.sender, application="test") as connection,
    ):
        writer.execute("SELECT")
        ((began,),) = rows(filled.sender, "SELECT backend_start FROM unstated.pg_stat_activity")
        connection.execute("SET search_path = unstated, pg_catalog")
        with take_snapshot(connection, lambda: NOON) as snapshot:
            seen = snapshot.watermark.oldest_write_at
    assert seen == (began if age == "1 second" else None)


def test_other_dump_without_shown_activities_writes_nothing(filled: TwoSites) -> None:
    hidden = make_conninfo(filled.sender, options="-c track_activities=off")
    with (
        connect(hidden, application="dump") as connection,
        take_snapshot(connection, lambda: NOON),
    ):
        assert take(filled.sender).oldest_write_at is not None


def test_other_dump_writes_nothing(filled: TwoSites) -> None:
    """Else the partials during a complete would carry all rows of large tables since its start."""
    with (
        connect(filled.sender, application="dump") as connection,
        take_snapshot(connection, lambda: NOON) as other,
        join_snapshot(filled.sender, other.exported),
    ):
        begun = "SELECT max(xact_start) FROM pg_stat_activity WHERE application_name = '{}'"
        worker = rows(filled.sender, begun.format("ar_sync dump worker"))[0][0]
        seen = take(filled.sender).oldest_write_at
    assert isinstance(worker, datetime)
    assert seen is not None
    assert seen > worker


def test_prepared_transaction_began_before_it_was_prepared(filled: TwoSites) -> None:
    execute(filled.sender, "BEGIN; DELETE FROM app_child WHERE id = 1; PREPARE TRANSACTION 'old'")
    try:
        before = "SELECT prepared - interval '10 minutes' FROM pg_prepared_xacts"
        assert [(take(filled.sender).oldest_write_at,)] == rows(filled.sender, before)
    finally:
        execute(filled.sender, "ROLLBACK PREPARED 'old'")


@pytest.fixture
def subscriber(tmp_path: Path) -> Iterator[str]:
    """Yield a database that applies another one's changes by logical replication."""
    settings = {"wal_level": "logical", "max_wal_senders": "4"}
    with EmbeddedPostgres(tmp_path / "server", settings=settings) as server:
        publisher, subscriber = map(server.create_database, ("publisher", "subscriber"))
        for url in (publisher, subscriber):
            execute(url, "CREATE TABLE t (id int PRIMARY KEY)")
        execute(
            publisher,
            "CREATE PUBLICATION p FOR TABLE t",
            "SELECT pg_create_logical_replication_slot('s', 'pgoutput')",
        )
        execute(
            subscriber,
            "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END'",
            "CREATE TRIGGER slowly BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION slowly()",
            "ALTER TABLE t ENABLE ALWAYS TRIGGER slowly",
            f"CREATE SUBSCRIPTION s CONNECTION '{publisher}' PUBLICATION p"
            " WITH (create_slot = false, slot_name = 's', copy_data = false)",
        )
        execute(publisher, "INSERT INTO t VALUES (1)")
        yield subscriber
        execute(
            subscriber,
            "ALTER SUBSCRIPTION s DISABLE",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_subscription WHERE pid IS NOT NULL",
            "ALTER SUBSCRIPTION s SET (slot_name = NONE)",
            "DROP SUBSCRIPTION s",
        )
    server.destroy()


@pytest.mark.long
def test_worker_that_applies_replicated_changes_is_a_writer(subscriber: str) -> None:
    applying = "SELECT xact_start FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    found = until(lambda: rows(subscriber, applying), "the worker applies the row", 20)
    assert take(subscriber).oldest_write_at == found[0][0]


def test_snapshot_is_later_than_the_one_before_although_the_clock_was_set_back(
    filled: TwoSites,
) -> None:
    later = NOON + timedelta(minutes=3)
    assert take(filled.sender, NOON, after=later).snapshot_at == later + timedelta(microseconds=1)
    assert take(filled.sender, later, after=NOON).snapshot_at == later


def test_timeline_is_that_of_the_log_being_written(filled: TwoSites) -> None:
    with psycopg.connect(filled.sender) as connection:
        row = connection.execute("SELECT timeline_id FROM pg_control_checkpoint()").fetchone()
    assert row is not None
    assert take(filled.sender).timeline == row[0]
