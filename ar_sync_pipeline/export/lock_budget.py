"""How much of the server's lock table a dump may take: production needs it too.

Each session of a dump locks every replicated table, with all partitions and indexes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError
from ar_sync_pipeline.postgres.lock_table import read_lock_table
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.table_facts import TableFacts


def lock_problems(
    connection: Connection, tables: Iterable[TableFacts]
) -> Iterator[DatabaseRefusedError]:
    """Yield an error if one session alone needs more than three quarters of the lock table."""
    each, locks = _locks_of_a_session(connection, tables), read_lock_table(connection)
    if each > locks.size * 3 // 4:
        enough = -(-2 * each // locks.sessions)
        yield DatabaseRefusedError(
            f"a dump would take {each:,} of about {locks.size:,} locks that all sessions of the"
            " sender's server can have together, so that production's statements could fail",
            remedy=f"set max_locks_per_transaction of that server to {enough} (it is"
            f" {locks.per_session}) and restart it",
        )


def sessions_that_fit(connection: Connection, tables: Iterable[TableFacts], wanted: int) -> int:
    """Return how many sessions need no more than half of the lock table; at least one."""
    each = _locks_of_a_session(connection, tables)
    return max(1, min(wanted, read_lock_table(connection).size // 2 // each))


def _locks_of_a_session(connection: Connection, tables: Iterable[TableFacts]) -> int:
    schemas, names = zip(*(facts.place for facts in tables), strict=True)
    return int(scalar(connection, _LOCKS, [list(schemas), list(names)]))


_LOCKS = """
WITH root AS MATERIALIZED (
  SELECT c.oid
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN unnest(%s::name[], %s::name[]) AS w (schema, name)
      ON n.nspname = w.schema AND c.relname = w.name),
relation AS MATERIALIZED (
  SELECT oid FROM root
  UNION SELECT p.relid FROM root CROSS JOIN LATERAL pg_partition_tree(root.oid) AS p)
SELECT (SELECT count(*) FROM relation)
       + (SELECT count(*) FROM pg_index i JOIN relation r ON r.oid = i.indrelid)
"""
