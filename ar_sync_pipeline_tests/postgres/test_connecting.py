"""Every case of an unavailable database: one sentence, the right class, no password."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.errors import ArSyncError, TerminalError, TransientError
from ar_sync_pipeline.postgres.connect import connect, database_label
from ar_sync_pipeline.postgres.errors import (
    DatabaseFailedError,
    DatabaseRefusedError,
    DatabaseUnreachableError,
)

SECRET = "s3cret/word"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """Yield a server that requires a password."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    server = EmbeddedPostgres(folder / "server", password=SECRET)
    with server:
        yield server
    server.destroy()


def refusal(url: str) -> ArSyncError:
    with pytest.raises(ArSyncError) as caught, connect(url, application="test"):
        pass
    assert one_sentence(caught.value)
    return caught.value


def one_sentence(error: ArSyncError) -> bool:
    text = str(error)
    return "\n" not in text and text.endswith(".") and SECRET not in text and "3cret" not in text


def test_right_password_is_let_in(guarded: EmbeddedPostgres) -> None:
    with connect(guarded.url(), application="test") as connection:
        assert connection.execute("SHOW TimeZone").fetchone() == ("UTC",)


def test_wrong_password_is_refused_and_never_shown(guarded: EmbeddedPostgres) -> None:
    error = refusal(guarded.url().replace("s3cret", "n0t-s3cret"))
    assert isinstance(error, DatabaseRefusedError)
    assert isinstance(error, TerminalError)
    assert "password authentication failed" in error.problem


def test_missing_password_is_refused(guarded: EmbeddedPostgres) -> None:
    parts = urlsplit(guarded.url())
    error = refusal(f"postgresql://postgres@{parts.hostname}:{parts.port}/postgres")
    assert isinstance(error, DatabaseRefusedError)


def test_missing_database_is_refused_by_name(guarded: EmbeddedPostgres) -> None:
    error = refusal(guarded.url("absent"))
    assert isinstance(error, DatabaseRefusedError)
    assert error.problem.startswith(f"the database 127.0.0.1:{guarded.port}/absent refused")


def test_missing_role_is_refused(workbench: str) -> None:
    error = refusal(workbench.replace("postgres@", "nobody@").replace("//postgres", "//nobody"))
    assert isinstance(error, DatabaseRefusedError)


def test_absent_server_is_unreachable_and_may_come_back() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        error = refusal(f"postgresql://someone:{SECRET.replace('/', '%2F')}@127.0.0.1:{port}/bus")
    assert isinstance(error, DatabaseUnreachableError)
    assert isinstance(error, TransientError)
    assert f"127.0.0.1:{port}/bus" in error.problem


@pytest.mark.long
def test_server_that_takes_the_line_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        error = refusal(f"host=127.0.0.1 port={port} dbname=bus user=x connect_timeout=2")
    assert isinstance(error, DatabaseUnreachableError)


def test_connection_that_breaks_inside_the_block_is_unreachable(workbench: str) -> None:
    with (
        pytest.raises(DatabaseUnreachableError, match="broke") as caught,
        connect(workbench, application="test") as connection,
    ):
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert one_sentence(caught.value)


def test_statement_that_the_server_gives_up_did_not_break_the_connection(workbench: str) -> None:
    with (
        pytest.raises(DatabaseFailedError, match="statement timeout") as caught,
        connect(workbench, application="test") as connection,
    ):
        connection.execute("SET statement_timeout = 20")
        connection.execute("SELECT pg_sleep(5)")
    assert isinstance(caught.value, TransientError)
    assert one_sentence(caught.value)


def test_right_that_the_role_lacks_is_a_refusal(workbench: str) -> None:
    with (
        pytest.raises(DatabaseRefusedError, match="permission denied for table") as caught,
        connect(workbench, application="test") as connection,
    ):
        connection.execute("CREATE TEMP TABLE kept (id integer)")
        connection.execute("SET ROLE pg_monitor")
        connection.execute("SELECT * FROM kept")
    assert one_sentence(caught.value)


def test_error_in_a_statement_is_left_as_it_is(workbench: str) -> None:
    with (
        pytest.raises(psycopg.errors.SyntaxError),
        connect(workbench, application="test") as connection,
    ):
        connection.execute("SELEC 1")


def test_server_whose_host_is_gone_is_noticed_whatever_the_connection_waits_for(
    workbench: str,
) -> None:
    with (
        connect(workbench, application="test") as connection,
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, interval, count = (
            line.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + interval * count <= 60
        assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 60_000


def test_options_of_the_url_are_kept(workbench: str) -> None:
    url = f"{workbench}?options=-c%20lock_timeout%3D1234"
    with connect(url, application="test") as connection:
        assert connection.execute("SHOW lock_timeout").fetchone() == ("1234ms",)
        assert connection.execute("SHOW DateStyle").fetchone() == ("ISO, YMD",)


@pytest.mark.parametrize(
    ("url", "label"),
    [
        (
            f"postgresql://bus:{SECRET.replace('/', '%2F')}@db.example:5433/bus",
            "db.example:5433/bus",
        ),
        ("dbname=bus user=x password='s3cret word'", "local socket:5432/bus"),
        ("postgresql://bus@[::1]/", "::1:5432/bus"),
    ],
)
def test_label_names_the_database_without_the_password(url: str, label: str) -> None:
    assert database_label(url) == label
