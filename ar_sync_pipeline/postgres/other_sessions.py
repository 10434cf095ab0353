"""Other sessions of the database in words: who holds a lock, who waits for one.

A statement's text may hold personal data, so only its first words are shown, up to the first value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection

_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
# Words and names up to the first value, operator or parenthesis.
_FIRST_WORDS = re.compile(r'\s*((?:[A-Za-z_][\w$]*|"[^"]+"|\.|,|\s)+)')
_LONGEST_STATEMENT = 100
_MOST_WORDS = 8
_MINUTE = 60


@dataclass(frozen=True)
class OtherSession:
    """A session of somebody else, as ``pg_stat_activity`` shows it to this role.

    Attributes:
        pid: its process id; 0: a prepared transaction, which has no process.
        application: its ``application_name``; empty if it has none or the role may not see it.
        state: such as ``active`` or ``idle in transaction``; empty if the role may not see it.
        statement: the first words of its newest statement; empty if the role may not see it.
        state_seconds: how long it has been in this state.
    """

    pid: int
    application: str = ""
    state: str = ""
    statement: str = ""
    state_seconds: float = 0.0

    def __str__(self) -> str:
        """``process 4711 (psql, ALTER TABLE t, idle in transaction for 12 min)``."""
        if self.pid == 0:
            return "a prepared transaction (see pg_prepared_xacts)"
        state = self.state
        if state and state != "active":
            state += f" for {_duration(self.state_seconds)}"
        known = [part for part in (self.application, self.statement, state) if part]
        if not self.statement:
            known.append("its statement is shown to members of pg_read_all_stats")
        return f"process {self.pid} ({', '.join(known)})"


def first_words(statement: str | None) -> str:
    """The beginning of a statement without any value in it: ``ALTER TABLE t ADD c``."""
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
    """A session from a row of ``pg_stat_activity``, whose columns may be NULL."""
    visible = None if (statement or "").startswith("<insufficient") else statement
    return OtherSession(
        pid or 0, application or "", state or "", first_words(visible), float(state_seconds or 0)
    )


ACTIVITY = (
    "a.application_name, a.state, left(a.query, 1000),"
    " extract(epoch from clock_timestamp() - a.state_change)::float8"
)
"""What `other_session` takes behind the process id, of ``pg_stat_activity AS a``."""


def exclusive_holder(
    connection: Connection, relations: Sequence[sql.Composable]
) -> tuple[str, OtherSession] | None:
    """Who holds or awaits an exclusive lock on one of these tables, their parts or indexes.

    Returns:
        The locked relation and the session; None if there is none any more.
    """
    names = [relation.as_string(connection) for relation in relations]
    row = connection.execute(_EXCLUSIVE_HOLDER, {"names": names}).fetchone()
    return None if row is None else (row[0], other_session(*row[1:]))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.0f} min"


_EXCLUSIVE_HOLDER = sql.SQL(
    """
WITH RECURSIVE part AS (
  SELECT to_regclass(n)::oid AS oid FROM unnest(%(names)s::text[]) AS n
  UNION SELECT i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid
), wanted AS (
  SELECT oid FROM part
  UNION SELECT i.indexrelid FROM part JOIN pg_index i ON i.indrelid = part.oid
)
SELECT l.relation::regclass::text, l.pid, {activity}
  FROM pg_locks l
  LEFT JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.relation IN (SELECT oid FROM wanted) AND l.pid IS DISTINCT FROM pg_backend_pid()
 ORDER BY l.granted DESC, a.xact_start
 LIMIT 1
"""
).format(activity=sql.SQL(ACTIVITY))
