"""Size of PostgreSQL's lock table, which all sessions of the server share.

A session that finds it full fails with "out of shared memory", whoever has filled it (PostgreSQL
manual, 20.12 "Lock Management").
"""

from __future__ import annotations

from typing import NamedTuple

from ar_sync_pipeline.postgres.connect import Connection


class LockTable(NamedTuple):
    """The lock table of a server.

    Attributes:
        per_session: The setting ``max_locks_per_transaction``.
        sessions: Number of sessions by which it is multiplied, at least.
    """

    per_session: int
    sessions: int

    @property
    def size(self) -> int:
        """How many locks all sessions can have together, at least."""
        return self.per_session * self.sessions


def read_lock_table(connection: Connection) -> LockTable:
    """Return the lock table of a connection's server."""
    (row,) = connection.execute(_READ).fetchall()
    return LockTable(*row)


_READ = """
SELECT current_setting('max_locks_per_transaction')::int,
       current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int
"""
