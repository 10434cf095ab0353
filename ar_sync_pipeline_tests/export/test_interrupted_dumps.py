"""A dump that is interrupted, such as by *Terminate* in the UI, leaves no statement at production.

A server does not notice a closed connection while it computes, and keeps the locks until then.
"""

from __future__ import annotations

import io
from contextlib import ExitStack
from pathlib import Path

from psycopg import sql

from ar_sync_pipeline.export.whole_tables import WholeTables
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.copy_stream import copy_out
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import rows
from ar_sync_pipeline_tests.interrupts import interrupted_when
from ar_sync_pipeline_tests.waiting import until

LONG = "SELECT pg_sleep(3600)"
WORKING = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'ar_sync dump%'"
    " AND state = 'active' AND query LIKE '%SELECT pg_sleep(3600)%'"
)


def working(url: str) -> int:
    """Return the number of sessions that are at work on the long statement."""
    return int(str(rows(url, WORKING)[0][0]))


def test_statements_of_all_sessions_are_cancelled(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    url = database_factory()
    with ExitStack() as stack:
        sessions = [stack.enter_context(connect(url, application="dump")) for _ in range(2)]
        writer = WholeTables(sessions, tmp_path, None, redefined=frozenset(), held={})

        def work(connection: Connection, _table: int) -> None:
            connection.execute(LONG)

        with interrupted_when(lambda: working(url) == len(sessions), "both are at work"):
            writer._share(work, range(9))  # noqa: SLF001  real tables are read too fast
        assert working(url) == 0
        assert [session.execute("SELECT 1").fetchone() for session in sessions] == [(1,), (1,)]


def test_statement_of_a_session_without_workers_is_cancelled(
    database_factory: DatabaseFactory,
) -> None:
    url = database_factory()
    with connect(url, application="dump") as connection:
        with interrupted_when(lambda: working(url) == 1, "it is at work"), connection.transaction():
            connection.execute(LONG)
        assert working(url) == 0
        assert connection.execute("SELECT 1").fetchone() == (1,), "the transaction is rolled back"


def test_copy_is_cancelled(database_factory: DatabaseFactory) -> None:
    url = database_factory()
    with (
        interrupted_when(lambda: working(url) == 1, "it is at work"),
        connect(url, application="dump") as connection,
    ):
        copy_out(connection, sql.SQL(LONG), io.BytesIO())
    until(lambda: working(url) == 0 or None, "the statement has ended", seconds=4)
