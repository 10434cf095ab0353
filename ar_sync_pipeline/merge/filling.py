"""Filling of empty tables: keys, indexes and foreign keys are created after the rows.

A foreign key that is checked at each insert runs one query per row and, if it is deferred, queues
an event in memory. Added after the rows, it is checked by one join. An index that is built at once
costs a third of the time of one that grows, and half of its WAL. If a table has no features that
COPY would bypass, the rows of a complete are copied directly into it and never staged. All of this
happens inside the load's transaction, so a load that fails changes nothing. Readers of the empty
tables wait for the commit; nobody waits for a table that has rows.

A table is truncated before rows are copied into it, so that a load that fails leaves no dead rows.
TRUNCATE hides no rows from older snapshots: only a table without a page counts as empty. The rows
are not frozen (``COPY ... FREEZE``): a reader whose snapshot is older than the load would see
them in one table and miss the rows of another (PostgreSQL manual, COPY).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import psycopg
from psycopg import sql

from ar_sync_pipeline.archive.manifest import TableManifest
from ar_sync_pipeline.merge.differences import TableDifference, is_empty
from ar_sync_pipeline.merge.droppable_parts import DroppablePart, droppable_parts
from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.connect import Connection, is_of_the_server
from ar_sync_pipeline.postgres.errors import BlockingEndedError
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.server_message import shown
from ar_sync_pipeline.postgres.session_settings import application_texts, built_in_search_path

_WORTH_A_LOCK_ROWS = 100_000
_LOCK_WAIT = "2s"
_OWN = (
    "GRANT the owner of the tables to the role of the receiver's URL for the next load into empty"
    " tables"
)
_SLOW_BUT_RIGHT = "the rows are right all the same, so this may stay as it is"
_END_SESSION = "end the sessions that use the empty tables before the next load into them"


@dataclass(frozen=True)
class Filling:
    """Parts that the filled tables lack until their rows are written.

    Attributes:
        dropped: Parts to restore, in this order.
        direct: Names of the tables that take rows directly from an archive.
        obstacle: Why nothing was dropped and what would change that, a message for operators; None:
            nothing prevented it.
    """

    connection: Connection
    dropped: Sequence[DroppablePart] = ()
    direct: frozenset[str] = frozenset()
    obstacle: str | None = None

    @property
    def foreign_keys(self) -> frozenset[tuple[str, str, str]]:
        """Foreign keys that the server checks when they are restored: schema, table, name."""
        return frozenset(part.foreign_key for part in self.dropped if part.foreign_key)

    @contextmanager
    def restored_after(self) -> Iterator[None]:
        """Restore everything at the end of a block."""
        yield
        # A definition names no tablespace if it is the default of the database.
        self.connection.execute("SELECT pg_catalog.set_config('default_tablespace', '', true)")
        with application_texts(self.connection):
            for part in self.dropped:
                # The server checks a foreign key by a query over the tables. An expression of an
                # index was printed under this path; it calls functions of PostgreSQL only.
                path = nullcontext() if part.foreign_key else built_in_search_path(self.connection)
                with path:
                    # The receiver's own catalog text.
                    self.connection.execute(sql.SQL(part.restore))


def fill_from_staging(connection: Connection, differences: Sequence[TableDifference]) -> Filling:
    """Drop the droppable parts of the empty tables that staged rows will fill; return them.

    This is done only if many rows are added to an empty table. If the role lacks the right, or
    another session locks one of the tables, nothing is dropped.
    """
    filled = [d.target for d in differences if d.fills and d.added]
    if not any(d.fills and d.added >= _WORTH_A_LOCK_ROWS for d in differences):
        return Filling(connection)
    return _begin(connection, filled, keys=False, candidates={}, effects=None)


def tables_to_fill(
    connection: Connection, targets: Mapping[str, TargetTable], exported: Sequence[TableManifest]
) -> list[tuple[TargetTable, TableManifest]]:
    """Return the empty tables of a complete if many rows are added to one of them, else none."""
    empty = [
        (targets[table.name], table)
        for table in exported
        if table.row_count
        and all(chunk.carried and not chunk.is_change for chunk in table.chunks)
        and table.name in targets
        and is_empty(connection, targets[table.name])
    ]
    worth_it = any(table.row_count >= _WORTH_A_LOCK_ROWS for _, table in empty)
    return empty if worth_it else []


def fill_directly(
    connection: Connection,
    tables: Sequence[tuple[TargetTable, TableManifest]],
    effects: SideEffects,
) -> Filling:
    """Prepare empty tables for rows directly from an archive.

    If the role lacks the right, or another session locks one of the tables, nothing is dropped, and
    no table is direct.
    """
    candidates = {
        target.relation.as_string(connection): target
        for target, table in tables
        if _takes_rows_as_they_are(target, table)
    }
    filled = [target for target, _ in tables]
    return _begin(connection, filled, keys=True, candidates=candidates, effects=effects)


def _takes_rows_as_they_are(target: TargetTable, table: TableManifest) -> bool:
    """Return whether COPY writes the same as the merge, and nothing else must be written."""
    facts = target.facts
    return (
        bool(target.key)
        and len(target.columns) == len(table.columns)
        and not (target.defaults() or target.transformed)
        and target.rules.triggers != "fire"
        and not (facts.partitioned or facts.triggers or facts.policies)
        and not any(unique.deferrable or unique.exclusion for unique in facts.unique_keys)
    )


def _begin(
    connection: Connection,
    filled: Sequence[TargetTable],
    *,
    keys: bool,
    candidates: Mapping[str, TargetTable],
    effects: SideEffects | None,
) -> Filling:
    """Drop all parts or none, with a short lock timeout, because readers wait for the lock."""
    parts = droppable_parts(connection, filled, keys=keys)
    try:
        with connection.transaction(), _short_waits(connection):
            for part in reversed(parts):
                connection.execute(sql.SQL(part.drop))
            direct = _truncated(connection, candidates, effects) if effects else frozenset()
    except psycopg.errors.InsufficientPrivilege as error:
        return Filling(connection, obstacle=_obstacle(error, _OWN))
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        return Filling(connection, obstacle=_obstacle(error, _END_SESSION))
    except psycopg.Error as error:
        if is_of_the_server(error, connection):
            raise
        return Filling(connection, obstacle=_obstacle(error, _SLOW_BUT_RIGHT))
    return Filling(connection, parts, direct)


def slow_because(ended: BlockingEndedError) -> str:
    """Return the obstacle after a load that filled tables directly was ended."""
    return _slower(
        ended.problem,
        "keep other sessions away from the empty tables during the next load into them, or raise"
        " AR_SYNC_MAX_BLOCKING_SECONDS",
    )


def _obstacle(error: psycopg.Error, remedy: str) -> str:
    return _slower(shown(error), remedy)


def _slower(reason: str, remedy: str) -> str:
    return f"rows were written with all indexes in place, which is slower ({reason}): {remedy}"


def _truncated(
    connection: Connection, candidates: Mapping[str, TargetTable], effects: SideEffects
) -> frozenset[str]:
    """Truncate the tables that are empty on disk and that no other table references."""
    if not candidates:
        return frozenset()
    tables = sql.SQL(", ").join(target.rows for target in candidates.values())
    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(tables))
    with built_in_search_path(connection):
        found = connection.execute(
            _DIRECT, {"tables": list(candidates), "suppressed": effects.suppressed}
        ).fetchall()
    direct = [candidates[row[0]] for row in found]
    if direct:
        tables = sql.SQL(", ").join(target.rows for target in direct)
        connection.execute(sql.SQL("TRUNCATE {}").format(tables))
    return frozenset(target.name for target in direct)


@contextmanager
def _short_waits(connection: Connection) -> Iterator[None]:
    before = scalar(connection, "SELECT pg_catalog.current_setting('lock_timeout')")
    connection.execute("SELECT pg_catalog.set_config('lock_timeout', %s, true)", [_LOCK_WAIT])
    yield
    connection.execute("SELECT pg_catalog.set_config('lock_timeout', %s, true)", [before])


# The server checks a foreign key at the end of each COPY, when its parent may not be copied yet.
_DIRECT = """
SELECT t.name
  FROM unnest(%(tables)s::text[]) AS t (name)
  JOIN pg_class c ON c.oid = t.name::regclass
 WHERE c.relkind = 'r' AND NOT c.relhassubclass AND pg_relation_size(c.oid) = 0
   AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid = c.oid
                    AND k.conrelid <> c.oid)
   AND (%(suppressed)s OR NOT EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f'
                                       AND k.conrelid = c.oid))
"""
