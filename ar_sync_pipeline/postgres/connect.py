"""Connections that do not depend on server settings, with errors of one message each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.errors import (
    DatabaseFailedError,
    DatabaseRefusedError,
    DatabaseUnreachableError,
)
from ar_sync_pipeline.postgres.pooler import refuse_transaction_pooling
from ar_sync_pipeline.postgres.server_message import RAISE, shown
from ar_sync_pipeline.postgres.session_settings import set_up_session

__all__ = [
    "HIDDEN_ROWS",
    "NAME_THE_PRIMARY",
    "Connection",
    "cancel_statement",
    "connect",
    "database_label",
    "is_of_the_server",
]

Connection = psycopg.Connection[tuple[Any, ...]]

_Result = TypeVar("_Result")
# An error of psycopg does not say which of several connections it was raised on.
_RAISED_ON: WeakKeyDictionary[psycopg.Error, Connection] = WeakKeyDictionary()


class _RecordingConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that records which errors were raised on it, and ends interrupted statements."""

    # The other parameters differ between versions of psycopg.
    def wait(self, gen: PQGen[_Result], *args: Any, **options: Any) -> _Result:  # noqa: ANN401
        """Wait for the answer to a statement."""
        try:
            return super().wait(gen, *args, **options)
        except psycopg.Error as error:
            _RAISED_ON[error] = self
            raise
        except BaseException:
            self._end_statement(gen)
            raise

    def _end_statement(self, gen: PQGen[_Result]) -> None:
        """Cancel the statement of an interrupted wait, as psycopg does after a KeyboardInterrupt.

        Dagster's interrupts are no such.
        """
        if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
            return
        if not cancel_statement(self):
            self.close()
            return
        with suppress(psycopg.Error):
            super().wait(gen)


_CANCEL_SECONDS = 5.0
_TRANSPORT = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 60_000,
}
_SERVER_CLASSES = frozenset({"08", "40", "57", "58"})
_SERVER_STATES = frozenset({"53100", "53200", "53300", "53400", "55P03", "25P03", "25P04"})
# The server's C functions that end a statement wherever it is: a cancel, a timeout, a deadlock.
_INTERRUPTS = frozenset({"ProcessInterrupts", "DeadLockReport"})
# An error at connecting has no SQLSTATE, only the text: libpq's own is English, the server's in the
# language of its `lc_messages`.
_REFUSED = re.compile(
    r"authentication failed|no password supplied|does not exist|no pg_hba\.conf entry"
    r"|permission denied|is not permitted|not currently accepting connections"
    r"|unsupported startup parameter|no such (database|user)|certificate|does not support SSL"
)
# The severity that a server's answer begins with is translated, too.
_ANSWERED = re.compile(r"failed: [^\s:]+:  ")

# The server runs and has no free session; its message names the limit.
_FULL = re.compile(r"too many (connections|clients)|remaining connection slots|too many sessions")
# "Function" in the languages of PostgreSQL's messages; names of procedural languages stay the same.
_FUNCTION = re.compile(r"PL/|fun[ckzç]|fon[ck]|функц|ფუნქც|関数|함수|函[数數]", re.IGNORECASE)
# Names and SQL statements; those within a statement are quoted, too.
_QUOTED = re.compile(r'["«»„“”].*["«»„“”]')
_NOT_YET = re.compile(
    r"the database system is (starting up|shutting down|in recovery mode|not yet)"
)


_WITH_MESSAGE = (
    psycopg.OperationalError,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ReadOnlySqlTransaction,
)
_UNKNOWN_NAMES = (
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedObject,
    psycopg.errors.UndefinedTable,
)
SET_THE_PATH = (
    "let ALTER ROLE {} SET search_path = ... name each schema that the application's functions use,"
    " as the search_path of the application's sessions does, and run the output of"
    " `ar-sync grants {}`"
)
"""What lets functions of the application find their names in the sessions of a role."""

OLDEST_SERVER = 140000
"""The first version with ``hash_record_extended``."""
HIDDEN_ROWS = "row-level security"
"""Part of the only error that ``row_security = off`` raises; it has no code of its own."""
_TEMPORARY_FILES = "temp_file_limit"
"""Parameter that the server's message names, in every language."""
NAME_THE_PRIMARY = (
    "let the URL name the primary, not a standby; one with several hosts finds it by"
    " target_session_attrs=read-write"
)


def database_label(url: str) -> str:
    """Return the database without a password: ``host:port/name``."""
    parts = conninfo_to_dict(url)
    host = parts.get("host") or "local socket"
    return f"{host}:{parts.get('port') or 5432}/{parts.get('dbname') or parts.get('user') or ''}"


@contextmanager
def connect(url: str, *, application: str) -> Iterator[Connection]:
    """Open a connection for the length of a block.

    Blocks can be nested: an error of another connection passes through unchanged.

    Args:
        url: libpq URL or keyword string.
        application: Application name, shown in ``pg_stat_activity``.

    Raises:
        DatabaseUnreachableError: The server cannot be reached, or the connection broke inside the
            block.
        DatabaseFailedError: The server cancelled a statement inside the block.
        DatabaseRefusedError: The server refused the role, password or database; it is too old, or
            it is a standby and the block writes; the role lacks a right for a statement inside the
            block, or a search path that the application's functions need; or a pooler in between
            does not assign whole sessions.
    """
    label = database_label(url)
    connection = _open(url, application)
    with connection:
        try:
            _refuse_old_server(connection, label)
            set_up_session(connection)
            refuse_transaction_pooling(connection, lambda: _open(url, application), label)
            yield connection
        except psycopg.Error as error:
            has_message = isinstance(error, _WITH_MESSAGE) or lacks_name(error)
            if not has_message or _RAISED_ON.get(error, connection) is not connection:
                raise
            # Checked before the connection is closed: afterwards every error looks like a broken
            # connection.
            raise _failure(error, connection, label) from error


def cancel_statement(connection: Connection) -> bool:
    """Cancel the statement of a session, if any; return whether the server could be told.

    It is for work that is given up: a server does not notice a closed connection while it computes,
    and keeps all locks. Another thread may be waiting for the statement.
    """
    try:
        connection.cancel_safe(timeout=_CANCEL_SECONDS)
    except psycopg.Error:
        return False
    return True


def _refuse_old_server(connection: Connection, label: str) -> None:
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        raise DatabaseRefusedError(
            f"the database {label} is PostgreSQL {version // 10000}, which lacks functions that the"
            " digests of rows need",
            remedy=f"upgrade the server to PostgreSQL {OLDEST_SERVER // 10000} or later",
            is_of_connection=True,
        )


def is_of_the_server(error: psycopg.Error, connection: Connection | None) -> bool:
    """Return whether an error is a failure of the server or connection, not of the statement.

    By its class (PostgreSQL manual, appendix A): connection, insufficient disk or connections,
    operator intervention, deadlock and lock timeout, system error.

    Args:
        connection: Connection on which it was raised; None: it is already closed.
    """
    state = error.sqlstate or ""
    source = error.diag.source_function
    own_code = names_function(error.diag.context) and source not in _INTERRUPTS
    lacks_space = state.startswith("53") and source != RAISE
    if own_code and not lacks_space and not _is_closed(connection):
        # The application's own code, such as a trigger, may raise any state.
        return False
    if connection is None:
        is_broken = not state and isinstance(error, psycopg.OperationalError)
    else:
        is_broken = _is_closed(connection)
    return is_broken or state in _SERVER_STATES or state[:2] in _SERVER_CLASSES


def names_function(context: str | None) -> bool:
    """Return whether an error's context says that a function of the database raised it.

    The server translates the context to the language of its ``lc_messages``. A line that begins
    with ``COPY`` names a table, as do quotes: ``while updating tuple (0,1) in relation "refund"``.
    """
    lines = (context or "").splitlines()
    return any(
        _FUNCTION.search(_QUOTED.sub("", line)) for line in lines if not line.startswith("COPY ")
    )


def lacks_name(error: psycopg.Error) -> bool:
    """Return whether a function of the application does not find a name, or may not use its schema.

    PostgreSQL skips a schema of the search path that the role may not use.
    """
    unknown = isinstance(error, _UNKNOWN_NAMES) or (
        isinstance(error, psycopg.errors.InsufficientPrivilege)
        and "schema" in (error.diag.message_primary or "").lower()
    )
    return unknown and names_function(error.diag.context)


def lacking_name(error: psycopg.Error) -> str:
    """Return the message of such an error with the function, without values."""
    lines = [line for line in (error.diag.context or "").splitlines() if names_function(line)]
    return "; ".join([shown(error), *lines[:1]])


def _is_closed(connection: Connection | None) -> bool:
    return connection is not None and (connection.closed or connection.broken)


def _failure(error: psycopg.Error, connection: Connection, label: str) -> ArSyncError:
    # The text of a whole answer has its context, too, such as a line of COPY.
    message = shown(error) if error.diag.message_primary else _first_line(error)
    if connection.closed or connection.broken:
        return DatabaseUnreachableError(
            f"the connection to the database {label} broke ({message})",
            remedy="it is tried again; look at the server's log if it repeats",
        )
    if lacks_name(error):
        return DatabaseRefusedError(
            f"a function of the database {label} does not find a name ({lacking_name(error)})",
            remedy=SET_THE_PATH.format(connection.info.user, "sender|receiver"),
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        hidden = HIDDEN_ROWS in message
        return DatabaseRefusedError(
            f"the database {label} refused a statement ({message})",
            remedy="let an administrator run ALTER ROLE ... BYPASSRLS for the role in the URL"
            if hidden
            else "grant the right to the role in the URL, or BYPASSRLS if a policy hides rows",
        )
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return DatabaseRefusedError(
            f"the database {label} takes no writes ({message})", remedy=NAME_THE_PRIMARY
        )
    hint = error.diag.message_hint
    remedy = "it is tried again; look at the server's log if it repeats"
    if _TEMPORARY_FILES in message:
        role = sql.Identifier(connection.info.user).as_string(connection)
        remedy = (
            f"let an administrator raise it, such as ALTER ROLE {role} SET {_TEMPORARY_FILES} = -1"
        )
    return DatabaseFailedError(
        f"the database {label} gave up a statement ({message})",
        remedy=remedy + (f" (its hint: {shown(error, hint.rstrip('.'))})" if hint else ""),
    )


def _open(url: str, application: str) -> Connection:
    given = conninfo_to_dict(url)
    merged = {**_TRANSPORT, **{k: v for k, v in given.items() if v is not None}}
    merged["application_name"] = f"ar_sync {application}"
    merged["client_encoding"] = "UTF8"
    try:
        return _RecordingConnection.connect(**merged, autocommit=True)  # type: ignore[arg-type]
    except psycopg.OperationalError as error:
        label = database_label(url)
        if _REFUSED.search(str(error)):
            raise DatabaseRefusedError(
                f"the database {label} refused the connection ({_first_line(error)})",
                remedy="check the role, password, database name, TLS settings and options in the"
                " URL",
                is_of_connection=True,
            ) from error
        if _FULL.search(str(error)):
            raise DatabaseUnreachableError(
                f"the database {label} has no free connection ({_first_line(error)})",
                remedy="end sessions that are not needed, or raise the limit that is reached: ALTER"
                " ROLE ... CONNECTION LIMIT, ALTER DATABASE ... CONNECTION LIMIT, or"
                " max_connections of the server",
            ) from error
        if _NOT_YET.search(str(error)):
            raise DatabaseUnreachableError(
                f"the database {label} takes no connection now ({_first_line(error)})",
                remedy="wait until the server has started; read its log if that takes long",
            ) from error
        if _ANSWERED.search(str(error)):
            raise DatabaseUnreachableError(
                f"the database {label} answered, and let nobody in ({_first_line(error)})",
                remedy="if the answer is about the role, its password, the database or TLS, correct"
                " the URL or pg_hba.conf; if the server starts or is full, wait",
            ) from error
        raise DatabaseUnreachableError(
            f"the database {label} cannot be reached ({_first_line(error)})",
            remedy="check that the server runs, and host, port and sslmode in the URL",
        ) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("DETAIL:", "HINT:"))] or lines
    return lines[-1].removeprefix("connection failed: ") if lines else type(error).__name__
