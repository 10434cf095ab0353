"""Rows that wait for the transform are counted in tables and columns of any name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.errors import LockWaitError
from ar_sync_pipeline.transform.rejected_rows import (
    Rejection,
    Severity,
    prepare_rejected_rows,
    record_rejections,
)
from ar_sync_pipeline.transform.transapp.report import WRITE
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


@pytest.mark.parametrize(
    ("type_name", "reset", "done"),
    [
        ("text", 0, "1"),
        ("text", False, "true"),
        ("json", "{}", "[1]"),
        ("xml", "<a/>", "<b/>"),
        ("point", "(0,0)", "(1,0)"),
        ("varchar(3)", "new", "old"),
        ("char(5)", "new", "old"),
        ("numeric(5,2)", 0, "1"),
        ("integer[]", "{}", "{1}"),
        ("t_state", "new", "old"),
        ("t_mood", "new", "old"),
        ("t_count", 0, "1"),
    ],
)
def test_rows_wait_by_a_value_of_any_type(
    empty_database: str, type_name: str, reset: object, done: str
) -> None:
    execute(
        empty_database,
        "CREATE TYPE t_state AS ENUM ('new', 'old')",
        "CREATE DOMAIN t_mood AS t_state",
        "CREATE DOMAIN t_count AS numeric(5,2)",
        f"CREATE TABLE t (state {type_name})",
        f"INSERT INTO t VALUES ('{str(reset).lower()}'), (NULL), ('{done}')",
    )
    assert _waiting(empty_database, {"state": reset}) == 2


def test_flag_alone_marks_a_row_that_is_reset_with_other_values(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE TABLE t (attempts int, done bool, error text)",
        "INSERT INTO t VALUES (0, false, ''), (3, false, 'no zone'), (0, true, ''), (1, true, '')",
    )
    assert _waiting(empty_database, {"attempts": 0, "done": False, "error": ""}) == 2


@pytest.mark.parametrize("reset", [{"a": False, "b": False}, {"state": "new", "error": ""}])
def test_without_a_single_flag_every_column_marks_a_row(
    empty_database: str, reset: dict[str, object]
) -> None:
    """Two flags are two stages; a program may write an error beside a state and try again."""
    execute(
        empty_database,
        "CREATE TABLE t (a bool, b bool, state text, error text)",
        "INSERT INTO t VALUES (true, false, 'new', 'no zone'), (true, true, 'old', 'none')",
    )
    assert _waiting(empty_database, reset) == 1


def test_rows_that_the_built_in_rules_refused_excuse_no_command(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE TABLE t (id int, done bool)",
        "INSERT INTO t VALUES (1, false)",
    )
    catalog = Catalog.model_validate(
        {"name": "c", "tables": ["t"], "table": {"t": {"reset_on_change": {"done": False}}}}
    )
    now, hour = datetime.now(UTC), timedelta(hours=1)
    refused = Rejection("1", WRITE, Severity.ERROR, "it is refused")
    with connect(empty_database, application="test") as connection:
        prepare_rejected_rows(connection)
        record_rejections(connection, "t", [1], [refused], now=now)
        count_waiting_rows(connection, catalog, now=now, limit=hour)
        (by_rules,) = count_waiting_rows(connection, catalog, now=now + 2 * hour, limit=hour)
        (by_command,) = count_waiting_rows(
            connection, catalog, now=now + 2 * hour, limit=hour, excuse_refused=False
        )
    assert (by_rules.too_old, by_command.too_old) == (0, 1)


def _waiting(url: str, reset_on_change: dict[str, object]) -> int:
    catalog = Catalog.model_validate(
        {"name": "c", "tables": ["t"], "table": {"t": {"reset_on_change": reset_on_change}}}
    )
    with connect(url, application="test") as connection:
        (found,) = count_waiting_rows(
            connection, catalog, now=datetime.now(UTC), limit=timedelta(hours=1)
        )
    return found.rows


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
