"""A session depends on no default of its role or database, and on no pooler that mixes sessions."""

from __future__ import annotations

from contextlib import nullcontext
from urllib.parse import urlsplit

import psycopg
import pytest

from ar_sync_pipeline.errors import ArSyncError, TerminalError, TransientError
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.session_settings import (
    built_in_search_path,
    default_search_path,
    short_lock_waits,
)
from ar_sync_pipeline_tests.fix_pgbouncer import PgBouncer
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import execute

# Settings of a role's owner, each with a value that would break a dump or a load.
HOSTILE = {
    "array_nulls": "off",
    "bytea_output": "escape",
    "client_connection_check_interval": "0",
    "client_encoding": "LATIN1",
    "DateStyle": "SQL, DMY",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "extra_float_digits": "-15",
    "idle_in_transaction_session_timeout": "9s",
    "idle_session_timeout": "9s",
    "IntervalStyle": "sql_standard",
    "jit": "on",
    "lc_monetary": "C.UTF-8",
    "lock_timeout": "1ms",
    "quote_all_identifiers": "on",
    "row_security": "on",
    "search_path": "elsewhere",
    "session_replication_role": "replica",
    "statement_timeout": "500ms",
    "tcp_keepalives_count": "99",
    "tcp_keepalives_idle": "7200",
    "tcp_keepalives_interval": "75",
    "tcp_user_timeout": "1s",
    "TimeZone": "America/Santiago",
    "transform_null_equals": "on",
    "xmloption": "document",
}
EXPECTED = {
    "array_nulls": "on",
    "bytea_output": "hex",
    "client_connection_check_interval": "5s",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "default_transaction_deferrable": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "extra_float_digits": "1",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "IntervalStyle": "postgres",
    "jit": "off",
    "lc_monetary": "C",
    "lock_timeout": "1min",
    "quote_all_identifiers": "off",
    "row_security": "off",
    "search_path": "pg_catalog",
    "session_replication_role": "origin",
    "statement_timeout": "0",
    "tcp_keepalives_count": "4",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_user_timeout": "0",
    "TimeZone": "UTC",
    "transform_null_equals": "off",
    "xmloption": "content",
}


@pytest.fixture
def hostile(database_factory: DatabaseFactory) -> str:
    """Return a database that has other defaults for everything."""
    url = database_factory()
    name = urlsplit(url).path[1:]
    execute(
        url,
        *(
            f"ALTER DATABASE {name} SET {parameter} = {value if ',' in value else repr(value)}"
            for parameter, value in HOSTILE.items()
        ),
    )
    return url


def shown(url: str) -> dict[str, str]:
    with connect(url, application="test") as connection:
        return {
            name: str(row[0])
            for name in EXPECTED
            if (row := connection.execute(f"SHOW {name}".encode()).fetchone())
        }


def test_session_has_its_own_value_of_every_parameter(hostile: str) -> None:
    assert shown(hostile) == EXPECTED


def test_transactions_are_what_the_product_relies_on(hostile: str) -> None:
    with (
        connect(hostile, application="test") as connection,
        connection.transaction(),
    ):
        found = connection.execute(
            "SELECT current_setting('transaction_isolation'),"
            " current_setting('transaction_read_only'), current_setting('ar_sync.search_path')"
        ).fetchone()
    assert found == ("read committed", "off", "elsewhere")


@pytest.mark.parametrize("options", ["", "?options=-c%20lock_timeout%3D2h"])
def test_waits_for_locks_are_short_in_a_block_whatever_the_url_says(
    empty_database: str, options: str
) -> None:
    def limit() -> object:
        with connect(empty_database + options, application="test") as connection:
            return scalar(connection, "SHOW lock_timeout")

    before = limit()
    with short_lock_waits("5s"):
        assert limit() == "5s"
    assert limit() == before == ("2h" if options else "1min")


@pytest.mark.parametrize("in_transaction", [True, False])
def test_search_path_of_a_block_ends_with_it_also_by_an_error(
    hostile: str, in_transaction: bool
) -> None:
    def path() -> str:
        return str(scalar(connection, "SHOW search_path"))

    with connect(hostile, application="test") as connection:
        with default_search_path(connection):
            assert path() == "elsewhere"
            with built_in_search_path(connection):
                assert path() == "pg_catalog"
            assert path() == "elsewhere"
            with (
                pytest.raises(psycopg.errors.DivisionByZero),
                connection.transaction() if in_transaction else nullcontext(),
                built_in_search_path(connection),
            ):
                connection.execute("SELECT 1 / 0")
            assert path() == "elsewhere"
        assert path() == "pg_catalog"


def test_session_pooling_works(pgbouncer: PgBouncer, hostile: str) -> None:
    url = pgbouncer("session", hostile)
    assert shown(url) == EXPECTED
    with (
        connect(url, application="test") as one,
        connect(url, application="test") as other,
    ):
        one.execute("CREATE TEMP TABLE kept AS SELECT 1 AS id")
        other.execute("SELECT 1")
        assert one.execute("SELECT id FROM kept").fetchone() == (1,)


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("pool_size", [1, 20])
def test_pooling_of_less_than_sessions_is_refused_by_name(
    pgbouncer: PgBouncer, empty_database: str, mode: str, pool_size: int
) -> None:
    url = pgbouncer(mode, empty_database, pool_size=pool_size)
    error = refusal(url)
    assert isinstance(error, DatabaseRefusedError)
    assert isinstance(error, TerminalError)
    assert f"(PgBouncer) in front of the database 127.0.0.1:{urlsplit(url).port}" in error.problem
    assert f"pools {mode}s" in error.problem
    assert "pool_mode = session" in error.remedy


def test_transaction_pooling_is_found_while_others_use_the_pool(
    pgbouncer: PgBouncer, empty_database: str
) -> None:
    url = pgbouncer("transaction", empty_database)
    with psycopg.connect(url) as one, psycopg.connect(url) as other:
        one.execute("SELECT 1")
        other.execute("SELECT 1")
        assert "pools transactions" in refusal(url).problem


def test_pooler_with_a_single_session_says_so(
    pgbouncer: PgBouncer, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ar_sync_pipeline.postgres.pooler._ANSWER_SECONDS", 0.5)
    error = refusal(pgbouncer("session", empty_database, pool_size=1))
    assert isinstance(error, TransientError)
    assert "pool_size" in error.remedy


def test_options_that_a_pooler_refuses_are_named(pgbouncer: PgBouncer, empty_database: str) -> None:
    url = pgbouncer("session", empty_database)
    error = refusal(f"{url}?options=-c%20lock_timeout%3D1234")
    assert isinstance(error, DatabaseRefusedError)
    assert "options" in error.problem


def refusal(url: str) -> ArSyncError:
    with pytest.raises(ArSyncError) as caught, connect(url, application="test"):
        pass
    assert "\n" not in str(caught.value)
    return caught.value
