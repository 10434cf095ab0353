"""One PostgreSQL snapshot, shared by several connections.

It uses ``REPEATABLE READ, READ ONLY`` and ``pg_export_snapshot()`` (PostgreSQL manual, 9.28.5
"Snapshot Synchronization Functions"), so all rows of an archive are of one instant. Every session
locks its tables before it reads. The first session locks them before the snapshot is taken, so that
the snapshot sees all earlier changes of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import IsolationLevel, sql

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.sender_history import LONGEST_SNAPSHOT
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.export.history import leave_traces
from ar_sync_pipeline.export.locks import limit_lock_waits, lock_tables, open_indexes
from ar_sync_pipeline.export.server_clock import ClockReading
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.postgres.table_facts import TableFacts

TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Snapshot:
    """An open snapshot.

    Attributes:
        connection: Connection that holds the snapshot; it stays open as long as the snapshot.
        exported: Id under which other connections import the snapshot.
        watermark: Point of the snapshot in the sender's history.
        database: Name of the database.
        clocks: Clocks of the server and of this machine.
    """

    connection: Connection
    exported: str
    watermark: Watermark
    database: str
    clocks: ClockReading


@contextmanager
def take_snapshot(
    connection: Connection,
    clock: Clock,
    *,
    after: datetime | None = None,
    tables: Iterable[TableFacts] = (),
    others: Sequence[sql.Composable] = (),
) -> Iterator[Snapshot]:
    """Lock tables, take a snapshot and keep both for the length of the block.

    Args:
        clock: Clock for ``snapshot_at``; read once, right after the snapshot was taken.
        after: Time of an earlier snapshot. The time of this one is always later, even if the clock
            was set back in between, because archives are applied in the order of these times.
        tables: Tables to lock first.
        others: Further tables to lock, which the catalog does not name.
    """
    locked = tuple(tables)
    limit_lock_waits(connection)
    traces = leave_traces(connection)
    clocks = ClockReading.take(connection)
    # Before the snapshot, so that a session that has ended in between is visible to it.
    oldest_write_at = _one(connection, _OLDEST_WRITE)[0]
    _begin(connection)
    with connection.transaction():
        lock_tables(connection, locked, others)
        facts = _one(connection, _FACTS)
        now = clock()
        watermark = Watermark(
            snapshot_at=now if after is None else max(now, after + TICK),
            snapshot=fitting(facts[1]),
            system_identifier=facts[2],
            timeline=facts[3],
            oldest_write_at=oldest_write_at,
            lsn=facts[5],
            traces=traces,
        )
        open_indexes(connection, locked)
        yield Snapshot(connection, facts[0], watermark, facts[4], clocks.until(connection))


def fitting(snapshot: str) -> str:
    """Return the snapshot, or an older one that fits if very many transactions are writing."""
    oldest = snapshot.partition(":")[0]
    return snapshot if len(snapshot) <= LONGEST_SNAPSHOT else f"{oldest}:{oldest}:"


@contextmanager
def join_snapshot(url: str, exported: str) -> Iterator[Connection]:
    """Open another connection that reads the same snapshot; it has no locks yet."""
    with connect(url, application="dump worker") as connection:
        limit_lock_waits(connection)
        _begin(connection)
        with connection.transaction():
            statement = sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported))
            connection.execute(statement)
            yield connection


def _begin(connection: Connection) -> None:
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True


def _one(connection: Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    if row is None:
        raise SchemaError("the server did not describe itself", remedy="use PostgreSQL 14 or later")
    return row


# The timeline is that of the WAL being written: a promoted standby writes to a new one at once,
# while its control file contains the old one until the next checkpoint.
_FACTS = """
SELECT pg_export_snapshot(), pg_current_snapshot()::text,
       (SELECT system_identifier::text FROM pg_control_system()),
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
       current_database(),
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
             ELSE pg_current_wal_flush_lsn() END - '0/0')::bigint
"""

# Sessions that have not written yet count too: their first statement may still set timestamps to
# the time at which their transaction began. Background workers write as well, such as those that
# apply logical replication. Other dumps write nothing, and may take hours. Other roles' sessions
# are shown to members of pg_read_all_stats only (manual, 27.2.3 "pg_stat_activity"), and with
# `track_activities = off` a session does not show when its transaction began, but that it has one:
# each transaction locks its own virtual id. A session that is just connecting has no state yet, and
# a transaction in which it only looks up its role; what it writes begins after its connection, for
# which it has a minute (`authentication_timeout`). Of a prepared transaction only the time of
# PREPARE is known; transaction managers give up one that has not got there after some minutes.
# The clock is read first: what begins later is not among the sessions.
_OLDEST_WRITE = """
WITH writers AS (
  SELECT pid, coalesce(state, 'disabled') AS state,
         CASE WHEN state IS NULL AND backend_start > now() - interval '2 minutes'
              THEN coalesce(xact_start, backend_start) ELSE xact_start END AS xact_start
    FROM pg_stat_activity
   WHERE datname = current_database() AND pid <> pg_backend_pid()
     AND backend_type NOT IN ('autovacuum worker', 'walsender')
     AND NOT (usename = current_user AND starts_with(application_name, 'ar_sync dump')))
SELECT CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') AND NOT EXISTS (
         SELECT FROM writers
          WHERE xact_start IS NULL AND (state = 'disabled' OR starts_with(state, 'idle in'))
            AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'virtualxid'))
       THEN least(
         before.now,
         (SELECT min(xact_start) FROM writers),
         (SELECT min(prepared) - interval '10 minutes' FROM pg_prepared_xacts
           WHERE database = current_database())) END
  FROM (SELECT clock_timestamp()) AS before (now)
"""
