"""One PostgreSQL snapshot, shared by as many connections as want to read it.

``REPEATABLE READ, READ ONLY`` and ``pg_export_snapshot()`` (PostgreSQL manual, 9.28.5 "Snapshot
Synchronization Functions"): all rows of an archive were true at one instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import IsolationLevel, sql

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.errors import SchemaError

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Snapshot:
    """An open snapshot.

    Attributes:
        connection: the connection that holds it; open as long as the snapshot is.
        exported: the id under which other connections import it.
        watermark: where in the sender's history it stands.
        database: name of the database.
    """

    connection: Connection
    exported: str
    watermark: Watermark
    database: str


@contextmanager
def take_snapshot(connection: Connection, clock: Clock) -> Iterator[Snapshot]:
    """Take a snapshot and keep it open for the length of the block.

    Args:
        clock: gives ``snapshot_at``; asked right after the snapshot was taken.
    """
    _begin(connection)
    with connection.transaction():
        facts = _one(connection, _FACTS)
        watermark = Watermark(
            snapshot_at=clock(),
            snapshot=facts[1],
            system_identifier=facts[2],
            timeline=facts[3],
        )
        yield Snapshot(connection, facts[0], watermark, facts[4])


@contextmanager
def join_snapshot(url: str, exported: str) -> Iterator[Connection]:
    """Another connection that reads the same snapshot."""
    with connect(url, application="dump worker") as connection:
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
        raise SchemaError("the server did not describe itself", remedy="use PostgreSQL 13 or later")
    return row


# The timeline is that of the last checkpoint: after a failover a checkpoint makes it the new one
# before the server accepts writes.
_FACTS = """
SELECT pg_export_snapshot(), pg_current_snapshot()::text,
       (SELECT system_identifier::text FROM pg_control_system()),
       (SELECT timeline_id FROM pg_control_checkpoint()), current_database()
"""
