"""Other sessions of the database as text: who holds a lock, who waits for one.

A statement's text may contain personal data, so only its first words are shown, up to the first
value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar

_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
# Words and names up to the first value, operator or parenthesis.
_FIRST_WORDS = re.compile(r'\s*((?:[A-Za-z_][\w$]*|"[^"]+"|\.|,|\s)+)')
_LONGEST_STATEMENT = 100
_MOST_WORDS = 8
_MINUTE = 60


@dataclass(frozen=True)
class OtherSession:
    """Another session, as ``pg_stat_activity`` shows it to this role.

    Attributes:
        pid: Process id; 0: a prepared transaction, which has no process.
        application: Its ``application_name``; empty if it has none or the role may not see it.
        state: State such as ``active`` or ``idle in transaction``; empty if the role may not see
            it.
        statement: First words of its newest statement; empty if the role may not see it.
        state_seconds: Seconds since its last change of state.
        client: Host of its client; empty if it is not asked for or the role may not see it.
        connected_seconds: Seconds since it was opened.
    """

    pid: int
    application: str = ""
    state: str = ""
    statement: str = ""
    state_seconds: float = 0.0
    client: str = ""
    connected_seconds: float = 0.0

    def __str__(self) -> str:
        """Return the session as text.

        For example ``process 4711 (psql, ALTER TABLE t, idle in transaction for 12 min)``.
        """
        if self.pid == 0:
            return "a prepared transaction (see pg_prepared_xacts)"
        state = self.state
        if state and state != "active":
            state += f" for {_duration(self.state_seconds)}"
        known = [part for part in (self.application, self.statement, state) if part]
        if not self.statement:
            known.append("its statement is shown to members of pg_read_all_stats")
        if self.client:
            known.append(f"connected from {self.client} for {_duration(self.connected_seconds)}")
        return f"process {self.pid} ({', '.join(known)})"


def first_words(statement: str | None) -> str:
    """Return the beginning of a statement without any value in it: ``ALTER TABLE t ADD c``."""
    found = _FIRST_WORDS.match(_COMMENT.sub(" ", statement or ""))
    words = " ".join(found.group(1).split()[:_MOST_WORDS]) if found else ""
    return words[:_LONGEST_STATEMENT]


def other_session(
    pid: int | None,
    application: str | None,
    state: str | None,
    statement: str | None,
    state_seconds: float | None,
) -> OtherSession:
    """Return a session from a row of ``pg_stat_activity``, whose columns may be NULL."""
    visible = None if (statement or "").startswith("<insufficient") else statement
    return OtherSession(
        pid or 0, application or "", state or "", first_words(visible), float(state_seconds or 0)
    )


def activity(alias: str) -> sql.SQL:
    """Return the columns of ``pg_stat_activity`` for `other_session`, after the process id."""
    columns = "{0}.application_name, {0}.state, left({0}.query, 1000)"
    elapsed = "extract(epoch from clock_timestamp() - {0}.state_change)::float8"
    return sql.SQL(f"{columns}, {elapsed}".format(alias))


@dataclass(frozen=True)
class ExclusiveLock:
    """An exclusive lock that is held or awaited; either blocks other sessions.

    Attributes:
        relation: Name of the locked relation.
        session: Session that holds or awaits the lock.
        blocked_by: Session for which that session waits; None: it holds the lock.
    """

    relation: str
    session: OtherSession
    blocked_by: OtherSession | None = None

    def __str__(self) -> str:
        """Return text such as ``its lock on t, held by process 4711 (...)``."""
        if self.blocked_by is None:
            return f"its lock on {self.relation}, held by {self.session}"
        return (
            f"its lock on {self.relation}, for which {self.session} waits already, kept waiting by"
            f" {self.blocked_by}"
        )


def exclusive_lock(
    connection: Connection, relations: Sequence[sql.Composable]
) -> ExclusiveLock | None:
    """Return the exclusive lock on one of these relations, their partitions or indexes, if any."""
    names = [relation.as_string(connection) for relation in relations]
    row = connection.execute(_EXCLUSIVE_LOCK, {"names": names}).fetchone()
    if row is None:
        return None
    blocked_by = None if row[1] else other_session(*row[7:])
    return ExclusiveLock(row[0], other_session(*row[2:7]), blocked_by)


@dataclass(frozen=True)
class LockedTables:
    """Tables that no other session can read.

    Attributes:
        session: Session that has locked them, or that keeps `awaited_by` waiting for its lock.
        since: When its transaction began; None: the role may not see it.
        awaited_by: Session that waits for an exclusive lock, and for which others wait already.
    """

    tables: tuple[str, ...]
    session: OtherSession
    since: datetime | None
    awaited_by: OtherSession | None = None


def locked_tables(
    connection: Connection, is_wanted: Callable[[str, str], bool]
) -> LockedTables | None:
    """Return the wanted tables that the oldest transaction locks; None: no wanted one is locked.

    Args:
        is_wanted: Whether a table is wanted, by its schema and name; asked for a partition's parent
            too.
    """
    rows = connection.execute(_LOCKED_TABLES).fetchall()
    rows = [row for row in rows if any(map(is_wanted, row[0], row[1]))]
    if not rows:
        return None
    _, _, _, pid, granted, *of_waiting, since = rows[0]
    tables = dict.fromkeys(row[2] for row in rows if row[3:5] == (pid, granted))
    holder = other_session(*of_waiting[4:])
    waiting = None if granted else other_session(pid, *of_waiting[:4])
    return LockedTables(tuple(tables), holder, since, waiting)


def advisory_lock_holder(connection: Connection, key: int) -> OtherSession | None:
    """Return the session that holds an advisory lock exclusively; None: it has released it."""
    row = connection.execute(_ADVISORY_LOCK, {"key": key}).fetchone()
    if row is None:
        return None
    *session, client, connected_seconds = row
    return replace(
        other_session(*session), client=client or "", connected_seconds=connected_seconds or 0.0
    )


def holds_advisory_lock(connection: Connection, key: int) -> bool:
    """Return whether this session holds an advisory lock exclusively."""
    holder = advisory_lock_holder(connection, key)
    return holder is not None and holder.pid == scalar(connection, "SELECT pg_backend_pid()")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.0f} min"


_EXCLUSIVE_LOCK = sql.SQL(
    """
WITH RECURSIVE part AS (
  SELECT to_regclass(n)::oid AS oid FROM unnest(%(names)s::text[]) AS n
  UNION SELECT i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid
), wanted AS (
  SELECT oid FROM part
  UNION SELECT i.indexrelid FROM part JOIN pg_index i ON i.indrelid = part.oid
)
SELECT l.relation::regclass::text, l.granted, l.pid, {holder}, w.pid, {waited_for}
  FROM pg_locks l
  LEFT JOIN pg_stat_activity a ON a.pid = l.pid
  LEFT JOIN LATERAL (SELECT (pg_blocking_pids(l.pid))[1] AS pid WHERE NOT l.granted) w ON true
  LEFT JOIN pg_stat_activity b ON b.pid = w.pid
 WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.relation IN (SELECT oid FROM wanted) AND l.pid IS DISTINCT FROM pg_backend_pid()
 ORDER BY l.granted DESC, a.xact_start
 LIMIT 1
"""
).format(holder=activity("a"), waited_for=activity("b"))

# A lock on an index keeps the planner waiting; one on a partition, a query of its parent.
_LOCKED_TABLES = sql.SQL(
    """
WITH locked AS (
  SELECT l.pid, l.granted, coalesce(i.indrelid, l.relation) AS oid
    FROM pg_locks l LEFT JOIN pg_index i ON i.indexrelid = l.relation
   WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
     AND l.pid IS DISTINCT FROM pg_backend_pid()
)
SELECT p.schemas, p.names, l.oid::regclass::text, l.pid, l.granted, {waiting}, h.pid, {holder},
       a.xact_start
  FROM locked l
  JOIN pg_class c ON c.oid = l.oid AND c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't'
 CROSS JOIN LATERAL (
       SELECT array_agg(n.nspname::text) AS schemas, array_agg(r.relname::text) AS names
         FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
        WHERE r.oid = l.oid OR r.oid IN (SELECT relid FROM pg_partition_ancestors(l.oid))) p
 CROSS JOIN LATERAL (
       SELECT CASE WHEN l.granted THEN l.pid ELSE (pg_blocking_pids(l.pid))[1] END AS pid) h
  LEFT JOIN pg_stat_activity a ON a.pid = h.pid
  LEFT JOIN pg_stat_activity w ON w.pid = l.pid
 WHERE l.granted OR h.pid IS NOT NULL
 ORDER BY l.granted DESC, a.xact_start, l.pid, 3
"""
).format(waiting=activity("w"), holder=activity("a"))

# The key's halves are in two columns (PostgreSQL manual, 54.12 "pg_locks"). A role that may not see
# the client sees no port either; a socket file has the port -1.
_ADVISORY_LOCK = sql.SQL(
    """
SELECT l.pid, {holder},
       CASE a.client_port WHEN -1 THEN 'the same host'
            ELSE coalesce(a.client_hostname, host(a.client_addr)) END,
       extract(epoch from clock_timestamp() - a.backend_start)::float8
  FROM pg_locks l
  LEFT JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
   AND (l.classid::bigint << 32) | l.objid::bigint = %(key)s
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
).format(holder=activity("a"))
