"""Bulk COPY at the level of the protocol: bytes in large blocks, never rows.

An iteration over psycopg's ``cursor.copy()`` returns one row at a time and needs three times the
processor time. So the loop here uses ``pgconn`` itself (PostgreSQL manual, 34.10 "Functions
Associated with the COPY Command").
"""

from __future__ import annotations

import select
import struct
from collections.abc import Callable, Iterable
from typing import Protocol

import psycopg
from psycopg import pq, sql

from ar_sync_pipeline.postgres.connect import Connection, cancel_statement
from ar_sync_pipeline.progress import report_progress

_BLOCK_BYTES = 512 * 1024
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"  # shorter than any row
_COUNT_BYTES, _HASH_BYTES, _LENGTH_BYTES = 2, 8, 4

_TakeMessage = Callable[[memoryview], object]


class ByteSink(Protocol):
    """Target of a COPY stream."""

    def write(self, data: bytes, /) -> object:
        """Write the next bytes of the stream."""


def copy_out(connection: Connection, query: sql.Composable, sink: ByteSink) -> int:
    """Stream ``COPY (query) TO STDOUT (FORMAT binary)`` into a sink; return the number of rows.

    Memory is bounded by one block of half a megabyte plus the longest row. After an error of the
    server the connection is usable. After an error of the sink, or an interrupt, it is closed,
    since the rest of the stream would precede the next statement's result.
    """
    block = bytearray()
    # A call of Python for each row would take a tenth of the processor time.
    return _copy_out(connection, query, block, block.extend, sink)


def copy_out_digested(
    connection: Connection, query: sql.Composable, sink: ByteSink
) -> tuple[int, int]:
    """Stream like `copy_out`, without the query's last column, a ``bigint`` that is not NULL.

    A value that is expensive to compute is thus computed once, for the row and for its digest.

    Returns:
        The number of rows, and the sum of the last column.
    """
    block = bytearray()
    hashes = _LastColumn(block)
    return _copy_out(connection, query, block, hashes.take, sink), hashes.total


def _copy_out(
    connection: Connection,
    query: sql.Composable,
    block: bytearray,
    take: _TakeMessage,
    sink: ByteSink,
) -> int:
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)
    pgconn = connection.pgconn
    try:
        pgconn.send_query(statement.as_bytes(connection))
        _flush(pgconn)
        result = _next_result(pgconn)
        if result.status == pq.ExecStatus.COPY_OUT:
            _receive(pgconn, block, take, sink)
            result = _next_result(pgconn)
        _drain(pgconn)
    except BaseException:
        cancel_statement(connection)
        connection.close()
        raise
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(result)
    return result.command_tuples or 0


def copy_in(
    connection: Connection, target: sql.Composable, columns: sql.Composable, data: Iterable[bytes]
) -> int:
    """Stream a binary COPY into a table; return the number of rows."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(target, columns)
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for block in data:
                copy.write(block)
                report_progress()
        return cursor.rowcount


class _LastColumn:
    """Appends rows to a block without their last column, eight bytes, and adds up its values.

    The server sends each row as one message; the first message also has the stream's header
    (PostgreSQL manual, 55.2.6 "COPY Operations"; COPY, "Binary Format").
    """

    def __init__(self, block: bytearray) -> None:
        self._block = block
        self._total = 0
        self._count = b""
        self._hashes = bytearray()

    @property
    def total(self) -> int:
        """Sum of all values."""
        self._add_up()
        return self._total

    def take(self, message: memoryview) -> None:
        block = self._block
        if not self._count:
            block += message[: len(_HEADER)]
            message = message[len(_HEADER) :]
            columns = int.from_bytes(message[:_COUNT_BYTES], "big")
            self._count = (columns - 1).to_bytes(_COUNT_BYTES, "big")
        if len(message) == len(_TRAILER):
            block += message
            return
        block += self._count
        block += message[_COUNT_BYTES : -_HASH_BYTES - _LENGTH_BYTES]
        self._hashes += message[-_HASH_BYTES:]
        if len(self._hashes) >= _BLOCK_BYTES:
            self._add_up()

    def _add_up(self) -> None:
        count = len(self._hashes) // _HASH_BYTES
        self._total += sum(struct.unpack(f">{count}q", self._hashes))
        self._hashes.clear()


def _receive(pgconn: pq.abc.PGconn, block: bytearray, take: _TakeMessage, sink: ByteSink) -> None:
    """Give each message to ``take``, which fills the block, and full blocks to the sink."""
    while True:
        size, data = pgconn.get_copy_data(1)
        if size > 0:
            take(data)
            if len(block) >= _BLOCK_BYTES:
                report_progress()
                sink.write(bytes(block))
                block.clear()
        elif size == 0:
            _wait(pgconn, writing=False)
            pgconn.consume_input()
        else:
            break
    if block:
        report_progress()
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
    # Without a limit: the server is silent for as long as it sorts, or scans rows of which few are
    # wanted. A host that is gone is noticed by the keepalives of every connection.
    # select() fails for descriptors from 1024 on, which a busy process has.
    ready = select.poll()
    ready.register(pgconn.socket, select.POLLOUT if writing else select.POLLIN)
    ready.poll()
