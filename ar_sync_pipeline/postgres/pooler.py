"""Connection poolers in front of the database: session pooling works, transaction pooling does not.

Temporary tables, shared snapshots, locks and parameters belong to a server session. In PgBouncer's
transaction pooling each transaction may run in another server session, and another client finds
what this one leaves there (PgBouncer manual, "SQL feature map for pooling modes").
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import psycopg
from psycopg import pq

from ar_sync_pipeline.postgres.errors import DatabaseRefusedError, DatabaseUnreachableError
from ar_sync_pipeline.postgres.scalar import scalar

_ROUNDS = 3
_ANSWER_SECONDS = 10.0
_REMEDY = "connect to the database itself, or to a pooler with pool_mode = session"

_Session = psycopg.Connection[Any]


def refuse_transaction_pooling(
    connection: _Session, another: Callable[[], AbstractContextManager[_Session]], label: str
) -> None:
    """Refuse a pooler that assigns transactions or statements instead of sessions.

    A pooler reports a process id of its own. If there is one, a second session begins a
    transaction. If it gets the server process of the first session, or the first session is in
    another process afterwards, the pooler does not assign whole sessions.

    Args:
        connection: New connection, in autocommit mode.
        another: Opens a second session of the same kind.
        label: Label of the database, for messages.

    Raises:
        DatabaseRefusedError: The pooler assigns transactions or statements.
        DatabaseUnreachableError: The pooler has no second session.
    """
    process = _process(connection)
    if process == connection.info.backend_pid:
        return
    with another() as second:
        answer = _begin(second, label)
        moved = answer is None or answer == process
        moved = moved or any(_process(connection) != process for _ in range(_ROUNDS))
    if moved:
        raise DatabaseRefusedError(
            f"a connection pooler (PgBouncer) in front of the database {label} pools"
            f" {'statements' if answer is None else 'transactions'}, so that a session's snapshot,"
            " locks and temporary tables are lost",
            remedy=_REMEDY,
            is_of_connection=True,
        )


def _process(connection: _Session) -> int:
    return scalar(connection, "SELECT pg_backend_pid()") or 0


def _begin(connection: _Session, label: str) -> int | None:
    """Return the server process of a new transaction; None if the pooler refuses to begin one."""
    pgconn = connection.pgconn
    pgconn.send_query(b"BEGIN; SELECT pg_backend_pid()")
    deadline = time.monotonic() + _ANSWER_SECONDS
    process = None
    # Statement pooling ends the connection at BEGIN.
    with suppress(psycopg.OperationalError):
        while (result := _next_result(pgconn, deadline, label)) is not None:
            if result.status == pq.ExecStatus.TUPLES_OK:
                process = int(result.get_value(0, 0) or b"0")
    return process


def _next_result(pgconn: pq.abc.PGconn, deadline: float, label: str) -> pq.abc.PGresult | None:
    ready = select.poll()
    ready.register(pgconn.socket, select.POLLIN)
    while pgconn.flush() or pgconn.is_busy():
        if not ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise DatabaseUnreachableError(
                f"the connection pooler in front of the database {label} has no second session"
                f" for {_ANSWER_SECONDS:.0f} s",
                remedy="let its pool_size be 5 or more, or connect to the database itself",
            )
        pgconn.consume_input()
    return pgconn.get_result()
