"""Termination of work that makes other sessions wait for its locks.

A dump reads tables for minutes. An ``ALTER TABLE`` waits for it, and every later statement of the
application queues after the ALTER. A watch on its own connection checks once a second for waiting
sessions. After a limit it terminates the sessions that it watches, whatever they are doing, and so
releases the locks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import datetime, timedelta
from functools import partial

import psycopg
from psycopg import sql

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.errors import (
    BlockingEndedError,
    LoadInProgressError,
    LockWaitError,
)
from ar_sync_pipeline.postgres.other_sessions import (
    ExclusiveLock,
    OtherSession,
    activity,
    other_session,
)
from ar_sync_pipeline.progress import report_progress

DEFAULT_LIMIT_SECONDS = 30.0

_POLL_SECONDS = 1.0
_POLLS_PER_LIMIT = 4
_START_SECONDS = 30.0
# Two large tables without an index, or a trigger of the receiver's own, may compute for ever.
_LONGEST_STATEMENT = timedelta(hours=24)
_STOP_SECONDS = 20.0


class BlockingWatch:
    """Watched sessions and what was seen; created by `end_when_blocking`.

    Args:
        url: URL of the database.
        limit_seconds: How long another session may wait for a lock of a watched one.
        work: What the watched sessions do, for messages: ``the dump``.
    """

    def __init__(self, url: str, limit_seconds: float, work: str) -> None:
        self._url = url
        self._limit = limit_seconds
        self._work = work
        self._poll_seconds = min(_POLL_SECONDS, limit_seconds / _POLLS_PER_LIMIT)
        self._sessions: dict[int, datetime] = {}
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._seen: dict[tuple[int, str], float] = {}
        self._ended: BlockingEndedError | None = None
        self._obstacle: LockWaitError | None = None
        # In this context, because whoever ends work that hangs listens in it.
        run = partial(copy_context().run, self._run)
        self._thread = threading.Thread(target=run, name="blocking watch", daemon=True)

    @contextmanager
    def over(self, connection: Connection) -> Iterator[None]:
        """Watch a session for the length of a block; it is terminated only inside of it.

        Raises:
            BlockingEndedError: The watched work was already terminated.
        """
        ((pid, started),) = connection.execute(_OWN_SESSION).fetchall()
        with self._guard:
            if self._ended is not None:
                raise self._ended
            self._sessions[pid] = started
        try:
            yield
        finally:
            with self._guard:
                self._sessions.pop(pid, None)

    def verdict(self, error: BaseException) -> ArSyncError | None:
        """Return the cause of an error inside the watched block; None: the error itself.

        Either the watch terminated the sessions, or they gave up a lock that another session holds.
        """
        if self._ended is not None:
            return self._ended
        gave_up = any(isinstance(e, psycopg.errors.LockNotAvailable) for e in _causes(error))
        if not gave_up or isinstance(error, LockWaitError | LoadInProgressError):
            return None
        return self._obstacle or LockWaitError(
            f"{self._work} did not get a lock in time, and who held it was not seen",
            remedy="it is tried again",
        )

    def start(self) -> None:
        """Start the watch.

        Raises:
            ArSyncError: The watch could not connect.
        """
        self._thread.start()
        self._started.wait(_START_SECONDS)
        if self._failure is not None:
            self.stop()
            raise self._failure

    def stop(self) -> None:
        """Stop the watch; the sessions are not changed."""
        self._stopped.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with connect(self._url, application="lock watch") as connection:
                    connection.execute("SET statement_timeout = '10s'")
                    self._started.set()
                    while not self._stopped.wait(self._poll_seconds):
                        self._poll(connection)
            except Exception as error:  # noqa: BLE001  a watch that ended would protect nobody
                # A watch that lost its connection opens another one; the work continues meanwhile.
                if not self._started.is_set():
                    self._failure = error
                    self._started.set()
                self._stopped.wait(self._poll_seconds)

    def _poll(self, connection: Connection) -> None:
        with self._guard:
            ours = list(self._sessions)
        if not ours:
            return
        now = time.monotonic()
        rows = connection.execute(_WAITING, {"ours": ours}).fetchall()
        waits = {(row[1], row[3]): row for row in rows if not row[0]}
        self._seen = {key: self._seen.get(key, now) for key in waits}
        for row in rows:
            if row[0]:
                lock = ExclusiveLock(row[2], other_session(*row[5:]))
                self._obstacle = lock_wait(self._work, lock)
        for key, row in waits.items():
            waited = max(row[4], now - self._seen[key])
            if waited > self._limit:
                self._end(connection, row[2], waited, other_session(*row[5:]))
        # Last, so that nothing that happens in it hides a session that waits.
        longest = {"ours": ours, "longest": _LONGEST_STATEMENT}
        if connection.execute(_COMPUTES, longest).fetchone():
            report_progress()

    def _end(self, connection: Connection, what: str, waited: float, session: OtherSession) -> None:
        with self._guard:
            if not self._sessions:
                return
            self._ended = self._ended or BlockingEndedError(
                f"{self._work} was ended, since {session} had waited {waited:.0f} s for its lock"
                f" on {what}",
                remedy="it is tried again by itself; run migrations at another time, or raise"
                " AR_SYNC_MAX_BLOCKING_SECONDS",
            )
            pids, starts = list(self._sessions), list(self._sessions.values())
            connection.execute(_TERMINATE, {"pids": pids, "starts": starts})


def lock_wait(work: str, lock: ExclusiveLock) -> LockWaitError:
    """Return the error for a lock that another session holds or awaits."""
    remedy, first = "it is tried again; end that session if it was forgotten", lock.session
    if lock.blocked_by is not None:
        first = lock.blocked_by
    if first.pid:
        remedy += f" (SELECT pg_terminate_backend({first.pid}))"
    return LockWaitError(f"{work} did not get {lock}", remedy=remedy)


@contextmanager
def end_when_blocking(
    url: str, limit_seconds: float = DEFAULT_LIMIT_SECONDS, *, work: str
) -> Iterator[BlockingWatch]:
    """Watch sessions for the length of a block, and terminate them if others wait too long.

    Use it around `connect`, so that errors of terminated connections become one message::

        with end_when_blocking(url, 30, work="the dump") as watch, connect(...) as connection:
            with watch.over(connection):
                ...

    Args:
        limit_seconds: How long another session may wait for a lock of a watched one.
        work: What the block does, for messages: ``the dump``.

    Raises:
        BlockingEndedError: Another session waited that long; the block's sessions are terminated.
        LockWaitError: A session of the block gave up a lock (``lock_timeout``); the error names the
            session that held it.
    """
    watch = BlockingWatch(url, limit_seconds, work)
    watch.start()
    try:
        yield watch
    except Exception as error:
        found = watch.verdict(error)
        if found is None or found is error:
            raise
        raise found from error
    finally:
        watch.stop()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


_OWN_SESSION = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
# A session that waits for a row, or for the lock of another run of the product, blocks no others.
# `CREATE INDEX CONCURRENTLY` and its like wait for older snapshots (a lock of type virtualxid) and
# let every statement of the application through, so that only what waits for them counts.
# `waitstart` exists from PostgreSQL 14 on, and is filled shortly after the wait began.
_WAITING = sql.SQL(
    """
WITH waiting AS MATERIALIZED (
  SELECT l.pid, l.pid = ANY (%(ours)s::int[]) AS ours, pg_blocking_pids(l.pid) AS blockers,
         to_jsonb(l) ->> 'waitstart' AS since, l.locktype AS kind, l.mode,
         CASE WHEN l.locktype = 'relation' AND l.database IN (0,
                (SELECT oid FROM pg_database WHERE datname = current_database()))
              THEN l.relation::regclass::text ELSE 'a ' || l.locktype END AS what
    FROM pg_locks l
   WHERE NOT l.granted),
concurrent AS (
  SELECT pid FROM waiting WHERE kind = 'virtualxid' AND blockers && %(ours)s::int[])
SELECT w.ours, w.pid, w.what, concat_ws(' ', w.what, w.since),
       coalesce(extract(epoch from clock_timestamp() - w.since::timestamptz), 0)::float8,
       CASE WHEN w.ours THEN w.blockers[1] ELSE w.pid END, {activity}
  FROM waiting w
  LEFT JOIN pg_stat_activity a ON a.pid = CASE WHEN w.ours THEN w.blockers[1] ELSE w.pid END
 WHERE w.ours
    OR (w.kind NOT IN ('advisory', 'transactionid', 'tuple', 'virtualxid')
        AND (w.blockers && %(ours)s::int[]
             OR w.mode <> 'ShareUpdateExclusiveLock'
                AND w.blockers && ARRAY(SELECT pid FROM concurrent)))
"""
).format(activity=activity("a"))

# A statement may take hours, and the client hears nothing of it. One that hangs, for a lock, a disk
# or another host, is never on a processor. The leader of parallel workers waits for them.
_COMPUTES = """
SELECT 1 FROM pg_stat_activity
 WHERE (pid = ANY (%(ours)s::int[]) OR leader_pid = ANY (%(ours)s::int[]))
   AND state = 'active' AND wait_event_type IS NULL
   AND query_start > clock_timestamp() - %(longest)s::interval
 LIMIT 1
"""

# By the start as well: another session may have got the process id.
_TERMINATE = """
SELECT pg_terminate_backend(a.pid)
  FROM pg_stat_activity a
  JOIN unnest(%(pids)s::int[], %(starts)s::timestamptz[]) AS s (pid, started)
    ON a.pid = s.pid AND a.backend_start = s.started
"""
