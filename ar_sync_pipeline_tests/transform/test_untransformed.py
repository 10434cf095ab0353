"""Rows that wait for the transform are counted in tables and columns of any name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.errors import LockWaitError
from ar_sync_pipeline.transform.untransformed import WaitingRows, count_waiting_rows
from ar_sync_pipeline_tests.fix_sites import execute, rows
from ar_sync_pipeline_tests.open_sessions import session
from ar_sync_pipeline_tests.waiting import until

WAITS = "SELECT FROM pg_locks WHERE relation = 't_b'::regclass AND NOT granted"


def test_rows_wait_in_a_table_whose_name_has_signs_of_placeholders(empty_database: str) -> None:
    catalog = Catalog.model_validate(
        {
            "name": "c",
            "tables": ["t %s"],
            "table": {"t %s": {"reset_on_change": {"100%": "at 0 %"}}},
        }
    )
    hour = timedelta(hours=1)
    with connect(empty_database, application="test") as connection:
        connection.execute('CREATE TABLE public."t %s" (id int, "100%" text)')
        connection.execute(
            """INSERT INTO public."t %s" VALUES (1, 'at 0 %'), (2, NULL), (3, 'done')"""
        )
        now = datetime.now(UTC)
        assert count_waiting_rows(connection, catalog, now=now, limit=hour) == (
            WaitingRows("t %s", 2, 0),
        )
        later = now + 2 * hour
        assert count_waiting_rows(connection, catalog, now=later, limit=hour) == (
            WaitingRows("t %s", 2, 2),
        )


@pytest.mark.long
def test_table_that_is_counted_is_not_locked_while_another_one_is(empty_database: str) -> None:
    """An ALTER of the application on the first table would wait for the counts of all others."""
    rules = {"reset_on_change": {"done": False}}
    catalog = Catalog.model_validate(
        {"name": "c", "tables": ["t_*"], "table": {"t_a": rules, "t_b": rules}}
    )
    execute(empty_database, *(f"CREATE TABLE {name} (done bool)" for name in ("t_a", "t_b")))
    hour = timedelta(hours=1)

    def count() -> None:
        with connect(empty_database, application="test") as connection:
            connection.execute("SET lock_timeout = '5s'")
            with pytest.raises(LockWaitError):
                count_waiting_rows(connection, catalog, now=datetime.now(UTC), limit=hour)

    with session(empty_database) as other, other.transaction():
        other.execute("LOCK TABLE t_b")
        with ThreadPoolExecutor(1) as threads:
            counting = threads.submit(count)
            until(lambda: rows(empty_database, WAITS), "the count waits for t_b")
            execute(empty_database, "SET lock_timeout = '1s'; ALTER TABLE t_a ADD more text")
            counting.result()
