"""Bulk COPY at the level of the protocol: bytes in large blocks, never rows.

An iteration over psycopg's ``cursor.copy()`` returns one row at a time and needs three times the
processor time. So the loop here uses ``pgconn`` itself (PostgreSQL manual, 34.10 "Functions
Associated with the COPY Command").
"""

from __future__ import annotations

import select
from collections.abc import Iterable
from typing import Protocol

import psycopg
from psycopg import pq, sql

from ar_sync_pipeline.postgres.connect import Connection

_BLOCK_BYTES = 512 * 1024
_STALL_SECONDS = 600


class ByteSink(Protocol):
    """Target of a COPY stream."""

    def write(self, data: bytes, /) -> object:
        """Write the next bytes of the stream."""


def copy_out(connection: Connection, query: sql.Composable, sink: ByteSink) -> int:
    """Stream ``COPY (query) TO STDOUT (FORMAT binary)`` into a sink; return the number of rows.

    Memory is bounded by one block of half a megabyte plus the longest row. After an error of the
    server the connection is usable. After an error of the sink it is closed, since the rest of the
    stream would precede the next statement's result.
    """
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)
    pgconn = connection.pgconn
    pgconn.send_query(statement.as_bytes(connection))
    _flush(pgconn)
    result = _next_result(pgconn)
    if result.status != pq.ExecStatus.COPY_OUT:
        _drain(pgconn)
        raise psycopg.errors.error_from_result(result)
    try:
        _receive(pgconn, sink)
    except BaseException:
        connection.close()
        raise
    final = _next_result(pgconn)
    _drain(pgconn)
    if final.status != pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(final)
    return final.command_tuples or 0


def copy_in(
    connection: Connection, target: sql.Composable, columns: sql.Composable, data: Iterable[bytes]
) -> int:
    """Stream a binary COPY into a table; return the number of rows."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(target, columns)
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for block in data:
                copy.write(block)
        return cursor.rowcount


def _receive(pgconn: pq.abc.PGconn, sink: ByteSink) -> None:
    block = bytearray()
    while True:
        size, data = pgconn.get_copy_data(1)
        if size > 0:
            block += data
            if len(block) >= _BLOCK_BYTES:
                sink.write(bytes(block))
                block.clear()
        elif size == 0:
            _wait(pgconn, writing=False)
            pgconn.consume_input()
        else:
            break
    if block:
        sink.write(bytes(block))


def _flush(pgconn: pq.abc.PGconn) -> None:
    while pgconn.flush():
        _wait(pgconn, writing=True)


def _next_result(pgconn: pq.abc.PGconn) -> pq.abc.PGresult:
    while pgconn.is_busy():
        _wait(pgconn, writing=False)
        pgconn.consume_input()
    result = pgconn.get_result()
    if result is None:
        raise psycopg.OperationalError("the server ended a COPY without a result")
    return result


def _drain(pgconn: pq.abc.PGconn) -> None:
    while pgconn.get_result() is not None:
        pass


def _wait(pgconn: pq.abc.PGconn, *, writing: bool) -> None:
    # select() fails for descriptors from 1024 on, which a busy process has.
    ready = select.poll()
    ready.register(pgconn.socket, select.POLLOUT if writing else select.POLLIN)
    if not ready.poll(_STALL_SECONDS * 1000):
        raise psycopg.OperationalError(f"the server was silent for {_STALL_SECONDS} s in a COPY")
