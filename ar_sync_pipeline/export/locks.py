"""Locks of a dump: all of them at its start, none later, and never a long wait.

Two sessions of one snapshot and a waiting ``ALTER TABLE`` make a deadlock that PostgreSQL cannot
detect: the ALTER waits for the idle session, and the other session queues after the ALTER. So each
session first locks all tables, with the indexes that its statements will open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.postgres.table_facts import TableFacts


def limit_lock_waits(connection: Connection) -> None:
    """Set a lock timeout below ``deadlock_timeout``.

    So no other session is cancelled for a deadlock with this one (PostgreSQL manual, 20.12 "Lock
    Management").
    """
    connection.execute(_LIMIT)


def lock_tables(
    connection: Connection, tables: Iterable[TableFacts], others: Sequence[sql.Composable] = ()
) -> None:
    """Lock tables in ACCESS SHARE mode, inside a transaction that has run no query yet.

    ``LOCK TABLE`` takes no snapshot. So the first query after it sees what other transactions did
    to the tables before they were locked, such as TRUNCATE (PostgreSQL manual, 13.2.2 "Repeatable
    Read Isolation Level"; 13.6 "Caveats").

    A table of which the role may read only single columns cannot be locked so: `open_indexes` locks
    it, and `lock_by_query` before that.

    Args:
        others: Further tables, which the catalog does not name.

    Raises:
        psycopg.errors.LockNotAvailable: Another session holds an exclusive lock on one of them.
    """
    names = [table.rows for table in tables if not table.by_column_rights] + list(others)
    for name in names:
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(name))


def lock_by_query(connection: Connection, tables: Iterable[TableFacts]) -> None:
    """Lock tables for which ``LOCK TABLE`` is not allowed, until the connection is closed.

    A query locks a table as well, but takes its snapshot before it has the lock. So another session
    holds these locks while the dump takes its snapshot and its own locks.

    Raises:
        psycopg.errors.LockNotAvailable: Another session holds an exclusive lock on one of them.
    """
    limit_lock_waits(connection)
    connection.execute("BEGIN")
    open_indexes(connection, tables)


def open_indexes(connection: Connection, tables: Iterable[TableFacts]) -> None:
    """Lock the indexes too: the planner opens all indexes of a table for any statement.

    ``REINDEX`` locks an index exclusively and its table only in SHARE mode.
    """
    with default_search_path(connection):
        for table in tables:
            connection.execute(sql.SQL("EXPLAIN SELECT FROM {}").format(table.rows))


_LIMIT = """
SELECT set_config('lock_timeout', greatest(10, least(500, setting::int / 2)) || 'ms', false)
  FROM pg_settings WHERE name = 'deadlock_timeout'
"""
