"""Binary COPY transfers any row of any size, and a failure in the middle is always detected."""

from __future__ import annotations

import io
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.copy_stream import copy_in, copy_out, copy_out_digested
from ar_sync_pipeline.postgres.errors import DatabaseUnreachableError
from ar_sync_pipeline_tests.postgres.scratch import Scratch

COLUMNS = sql.SQL("id, data")


class Segments:
    """A sink that records the size of its largest block."""

    def __init__(self) -> None:
        self.largest = 0
        self.total = 0

    def write(self, data: bytes) -> None:
        self.largest = max(self.largest, len(data))
        self.total += len(data)


class FullDisk:
    def write(self, data: bytes) -> None:
        raise OSError(28, f"no space for {len(data)} bytes")


def numbers(stop: int) -> sql.SQL:
    return sql.SQL("SELECT n, repeat('x', 100) FROM generate_series(1, {}) AS n").format(stop)  # type: ignore[return-value]


def test_rows_that_go_out_come_in_the_same(scratch: Scratch) -> None:
    scratch.run(
        "CREATE TABLE one (id integer, data text)",
        "CREATE TABLE other (LIKE one)",
        r"INSERT INTO one VALUES (1, NULL), (2, '\N'), (3, E'\t\n\\.\n'), (4, 'ñ🚌'), (NULL, '')",
    )
    stream = io.BytesIO()
    query = sql.SQL("SELECT id, data FROM {}").format(scratch.relation("one"))
    assert copy_out(scratch.connection, query, stream) == 5
    data = iter([stream.getvalue()])
    assert copy_in(scratch.connection, scratch.relation("other"), COLUMNS, data) == 5
    both = [scratch.rows(f"SELECT * FROM {name} ORDER BY id") for name in ("one", "other")]
    assert both[0] == both[1]


def test_empty_result_is_a_stream_of_no_rows(scratch: Scratch) -> None:
    scratch.run("CREATE TABLE t (id integer, data text)")
    stream = io.BytesIO()
    assert copy_out(scratch.connection, numbers(0), stream) == 0
    assert copy_in(scratch.connection, scratch.relation("t"), COLUMNS, [stream.getvalue()]) == 0


def test_sink_gets_large_blocks_and_never_the_whole(scratch: Scratch) -> None:
    blocks = Segments()
    assert copy_out(scratch.connection, numbers(60_000), blocks) == 60_000
    assert blocks.total > 6_000_000
    assert blocks.largest < 1_000_000


def test_value_of_forty_megabytes_is_copied(scratch: Scratch) -> None:
    scratch.run(
        "CREATE TABLE one (id integer, data bytea)",
        "CREATE TABLE other (LIKE one)",
        r"INSERT INTO one VALUES (1, decode(repeat('00ff', 20000000), 'hex'))",
    )
    stream = io.BytesIO()
    query = sql.SQL("SELECT * FROM {}").format(scratch.relation("one"))
    copy_out(scratch.connection, query, stream)
    view = stream.getbuffer()
    blocks = (bytes(view[at : at + 250_000]) for at in range(0, len(view), 250_000))
    copy_in(scratch.connection, scratch.relation("other"), COLUMNS, blocks)
    sums = "SELECT length(data), sha256(data) FROM {}"
    assert scratch.rows(sums.format("one")) == scratch.rows(sums.format("other"))


def test_statement_that_is_refused_leaves_the_connection_usable(scratch: Scratch) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        copy_out(scratch.connection, sql.SQL("SELECT * FROM nowhere"), io.BytesIO())
    assert scratch.connection.execute("SELECT 1").fetchone() == (1,)


def test_error_in_the_middle_of_reading_raises_and_leaves_the_connection_usable(
    scratch: Scratch,
) -> None:
    blocks = Segments()
    query = sql.SQL("SELECT n, 1 / (50000 - n) FROM generate_series(1, 60000) AS n")
    with pytest.raises(psycopg.errors.DivisionByZero):
        copy_out(scratch.connection, query, blocks)
    assert blocks.total > 0
    assert scratch.connection.execute("SELECT 1").fetchone() == (1,)


def test_sink_that_fails_is_heard_and_the_connection_is_closed(scratch: Scratch) -> None:
    with (
        pytest.raises(OSError, match="no space"),
        connect(scratch.url, application="test") as connection,
        connection.transaction(),
    ):
        copy_out(connection, numbers(60_000), FullDisk())
    assert connection.closed


def test_sink_that_fails_cannot_leave_half_a_copy_for_the_next_statement(scratch: Scratch) -> None:
    with connect(scratch.url, application="test") as connection:
        with pytest.raises(OSError, match="no space"):
            copy_out(connection, numbers(60_000), FullDisk())
        assert connection.closed


def test_source_that_fails_writes_nothing_and_leaves_the_connection_usable(
    scratch: Scratch,
) -> None:
    scratch.run("CREATE TABLE t (id integer, data text)")
    stream = io.BytesIO()
    copy_out(scratch.connection, numbers(1_000), stream)

    def cut() -> Iterator[bytes]:
        yield stream.getvalue()[:50_000]
        raise ValueError("the archive ends here")

    with pytest.raises(ValueError, match="ends here"):
        copy_in(scratch.connection, scratch.relation("t"), COLUMNS, cut())
    assert scratch.rows("SELECT count(*) FROM t") == [(0,)]
    assert scratch.connection.execute("SELECT 1").fetchone() == (1,)


def test_server_process_that_dies_in_a_copy_is_an_unreachable_database(scratch: Scratch) -> None:
    class Killer:
        def write(self, data: bytes) -> None:
            del data
            scratch.run(f"SELECT pg_terminate_backend({process_id})")

    with (
        pytest.raises(DatabaseUnreachableError, match="broke"),
        connect(scratch.url, application="test") as connection,
    ):
        process_id = connection.info.backend_pid
        copy_out(connection, numbers(1_000_000), Killer())


@pytest.mark.parametrize("rows", [0, 1, 2, 100_000])
def test_last_column_is_added_up_and_left_out(scratch: Scratch, rows: int) -> None:
    values = "SELECT n, repeat('x', n % 50), NULL::int FROM generate_series(1, {0}) n"
    extreme = "CASE WHEN n % 2 = 0 THEN -9223372036854775808 ELSE 9223372036854775807 - n END"
    plain, stream = io.BytesIO(), io.BytesIO()
    copy_out(scratch.connection, sql.SQL(values).format(rows), plain)
    hashed = values.replace("NULL::int", f"NULL::int, ({extreme})::bigint")
    found = copy_out_digested(scratch.connection, sql.SQL(hashed).format(rows), stream)
    numbers = (-(2**63) if n % 2 == 0 else 2**63 - 1 - n for n in range(1, rows + 1))
    assert found == (rows, sum(numbers))
    assert stream.getvalue() == plain.getvalue()


def test_rows_of_any_size_lose_their_last_column_alone(scratch: Scratch) -> None:
    stream = Segments()
    large = sql.SQL("SELECT repeat('x', 30000000), 1::bigint FROM generate_series(1, 2)")
    assert copy_out_digested(scratch.connection, large, stream) == (2, 2)
    assert stream.total == 11 + 8 + 2 * (2 + 4 + 30_000_000) + 2
