"""Parameters that every session of the product relies on, whatever the server's defaults are.

A role or a database may have its own defaults for any of them (``ALTER ROLE ... SET``). They are
set after connecting, not by the startup parameter ``options``, which PgBouncer refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import psycopg
from psycopg import sql

# Digests and staging need one text form per value, transactions their isolation level, and long
# dumps and loads no timeout (PostgreSQL manual, 20.11 "Client Connection Defaults"). `row_security
# = off` raises an error if a policy would hide rows, as in pg_dump. `jit = off`: queries of the
# system catalogs have high cost estimates, so compiling one takes seconds, and running it
# milliseconds.
_ALWAYS = {
    "array_nulls": "on",
    "bytea_output": "hex",
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
    "max_parallel_workers_per_gather": "0",
    "quote_all_identifiers": "off",
    "row_security": "off",
    "standard_conforming_strings": "on",
    "tcp_user_timeout": "0",
    "TimeZone": "UTC",
    "transaction_timeout": "0",
    "transform_null_equals": "off",
    "xmloption": "content",
}
# By these the server notices that a client is gone, and releases its locks: without answers within
# half a minute, not after two hours, and also during a statement (PostgreSQL manual, 20.3.2 "TCP
# Settings"). Not `tcp_user_timeout`: it also ends the session of a dump that does not read for a
# while since its disk is slow (tcp(7)). Connections without TCP ignore the keepalives. A server
# refuses the check on platforms that cannot do it, such as Windows.
_OF_THE_CLIENT = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
    "client_connection_check_interval": "5s",
}
_REFUSALS = (
    psycopg.DataError,
    psycopg.ProgrammingError,
    psycopg.errors.lookup("55P02"),  # a parameter that cannot be changed now
)
# A session in replica mode checks no foreign key. A load sets the mode by itself, and only a role
# that may do that may leave it.
_LEAVE_REPLICA_MODE = (
    "SELECT set_config('session_replication_role', 'origin', false)"
    " WHERE current_setting('session_replication_role') <> 'origin'"
)
# As long as the client waits for the server.
_UNANSWERED = "60s"
# The end of every wait for a lock. The `options` of the URL may set another value.
_LOCK_TIMEOUT = "60s"
_SHORT_LOCK_WAIT: ContextVar[str | None] = ContextVar("short lock wait", default=None)

# Immutable casts to text depend on them, so generated columns and indexes do.
_OF_TEXTS = ("bytea_output", "extra_float_digits")
# What expressions of the application depend on: a default CURRENT_DATE, the check of a time, the
# text of a function. Not `xmloption`: "content" takes every document, and binary COPY obeys it.
_OF_THE_APPLICATION = (
    *_OF_TEXTS,
    "array_nulls",
    "DateStyle",
    "IntervalStyle",
    "lc_monetary",
    "standard_conforming_strings",
    "TimeZone",
    "transform_null_equals",
)
_KEPT = sql.SQL("pg_catalog.set_config({}, pg_catalog.current_setting({}), false)")
_KEEP = sql.SQL("SELECT {}, pg_catalog.set_config('search_path', 'pg_catalog', false)").format(
    sql.SQL(", ").join(
        _KEPT.format(f"ar_sync.{name}", name) for name in ("search_path", *_OF_THE_APPLICATION)
    )
)
_PATH_OF_THE_APPLICATION = sql.SQL("pg_catalog.current_setting('ar_sync.search_path')")
_EXCHANGE_PATH = sql.SQL(
    "SELECT pg_catalog.current_setting('search_path'),"
    " pg_catalog.set_config('search_path', {}, false)"
)
_USABLE = (psycopg.pq.TransactionStatus.IDLE, psycopg.pq.TransactionStatus.INTRANS)


@contextmanager
def parallel_workers(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Let queries of a block use parallel workers, in a transaction or a savepoint."""
    with connection.transaction():
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 2")
        yield
        # An enclosing transaction would keep it.
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")


def set_up_session(connection: psycopg.Connection[Any]) -> None:
    """Set the parameters of a new session, outside a transaction.

    The session's own search path is stored in ``ar_sync.search_path``; under ``pg_catalog`` types
    and expressions are printed with their schema. What `application_settings` restores is stored
    alike. A parameter that this version of the server does not know is left out.
    """
    # First and alone: a role's timeout of some milliseconds would cancel the others.
    connection.execute("SET statement_timeout = 0")
    connection.execute(_KEEP)
    connection.execute(_SET_ALL)
    for name, value in _OF_THE_CLIENT.items():
        with suppress(*_REFUSALS):
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
    with suppress(psycopg.errors.InsufficientPrivilege):
        connection.execute(_LEAVE_REPLICA_MODE)
    short = _SHORT_LOCK_WAIT.get()
    if short or "lock_timeout" not in connection.info.options:
        connection.execute(f"SET lock_timeout = '{short or _LOCK_TIMEOUT}'".encode())


@contextmanager
def short_lock_waits(limit: str) -> Iterator[None]:
    """Let sessions that this thread opens in a block wait less long for locks, whatever the URL.

    Args:
        limit: Longest wait for a lock, as PostgreSQL writes it.
    """
    token = _SHORT_LOCK_WAIT.set(limit)
    try:
        yield
    finally:
        _SHORT_LOCK_WAIT.reset(token)


def end_with_the_host(connection: psycopg.Connection[Any]) -> None:
    """Let the server end a session whose client acknowledges nothing for a minute.

    Keepalives do not notice that a host is gone while an answer is on its way to it; Linux tries to
    deliver that for a quarter of an hour. It is for sessions that hold locks and read each answer
    at once, not for dumps.
    """
    connection.execute("SELECT set_config('tcp_user_timeout', %s, false)", [_UNANSWERED])


@contextmanager
def default_search_path(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Resolve names like the application's own sessions, for the length of a block.

    Functions in triggers, constraints and index expressions may rely on the search path of the role
    or the database, also in queries: the planner inlines the SQL functions of a table's indexes.

    A schema of that path may have functions of others that PostgreSQL prefers to its own ones
    (PostgreSQL manual, 10.3). So in a statement of such a block a function or operator of
    PostgreSQL is qualified, or has exactly the argument types of the call. A statement of which
    that is not obvious, and that uses no table of the application, belongs into
    `built_in_search_path`.
    """
    with _search_path(connection, _PATH_OF_THE_APPLICATION):
        yield


@contextmanager
def built_in_search_path(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Resolve names in ``pg_catalog`` only, for the length of a block."""
    with _search_path(connection, sql.Literal("pg_catalog")):
        yield


@contextmanager
def _search_path(connection: psycopg.Connection[Any], path: sql.Composable) -> Iterator[None]:
    (before, _) = connection.execute(_EXCHANGE_PATH.format(path)).fetchone() or ("pg_catalog", "")
    try:
        yield
    finally:
        # The rollback of a failed transaction restores the path.
        if connection.info.transaction_status in _USABLE:
            connection.execute(_EXCHANGE_PATH.format(sql.Literal(before)))


@contextmanager
def application_settings(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Compute defaults and checks like the application's own sessions, for the length of a block.

    It is for writes in a transaction. What compares or prints values belongs outside of the block,
    and so does what repeats an expression of the database: it was printed under other settings.
    """
    with _restored(connection, _OF_THE_APPLICATION):
        yield


@contextmanager
def application_texts(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Print values like the application's own sessions, for the length of a block.

    It is for the definition of an index, which is read like the product printed it and computes
    texts like the application does. Use it in a transaction.
    """
    with _restored(connection, _OF_TEXTS):
        yield


@contextmanager
def _restored(connection: psycopg.Connection[Any], names: Sequence[str]) -> Iterator[None]:
    """Give parameters the values of the application's sessions for the length of a block."""
    kept = {
        name: sql.SQL("pg_catalog.current_setting({})").format(f"ar_sync.{name}") for name in names
    }
    connection.execute(_set_local(kept))
    yield
    connection.execute(_set_local({name: sql.Literal(_ALWAYS[name]) for name in names}))


def _set_local(values: Mapping[str, sql.Composable]) -> sql.Composed:
    return sql.SQL("SELECT {}").format(
        sql.SQL(", ").join(
            sql.SQL("pg_catalog.set_config({}, {}, true)").format(name, value)
            for name, value in values.items()
        )
    )


def _set_all() -> sql.Composed:
    rows = sql.SQL(", ").join(
        sql.SQL("({}, {})").format(sql.Literal(name), sql.Literal(value))
        for name, value in _ALWAYS.items()
    )
    # NULL means a parameter that this server does not know.
    return sql.SQL(
        "SELECT set_config(w.name, w.value, false) FROM (VALUES {}) AS w (name, value)"
        " WHERE current_setting(w.name, true) IS NOT NULL"
    ).format(rows)


_SET_ALL = _set_all()
