"""Every case of an unavailable database: one sentence, the right class, no password."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.errors import ArSyncError, TerminalError, TransientError
from ar_sync_pipeline.postgres import connect as connect_module
from ar_sync_pipeline.postgres.connect import connect, database_label, names_function
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


def test_server_that_is_too_old_is_refused(workbench: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect_module, "OLDEST_SERVER", 990000)
    error = refusal(workbench)
    assert isinstance(error, DatabaseRefusedError)
    assert error.remedy == "upgrade the server to PostgreSQL 99 or later"


@pytest.mark.parametrize(
    "context",
    [
        "PL/pgSQL function f() line 1 at RAISE",
        "PL/pgSQL-\x46unktion f() Zeile 1 bei RAISE\nCOPY t, Zeile 1",
        "función PL/pgSQL f() en la línea 1 en RAISE",
        "función SQL «f» en la sentencia 1",
        "\x66onction SQL « f », instruction 1",
        'SQL関数"f"の行番号 1',
        'SQL function "f" statement 1',
        'SQL statement "SELECT f()"\nPL/pgSQL function f() line 1 at PERFORM',
    ],
)
def test_error_of_a_function_is_known_in_every_language(context: str) -> None:
    assert names_function(context)


@pytest.mark.parametrize(
    "context",
    [
        None,
        "",
        'COPY functions, line 1, column a: "x"',
        'while updating tuple (0,1) in relation "app_funcionario"',
        'while inserting index tuple (0,1) in relation "function_pkey"',
        "mientras se actualizaba la tupla (0,1) en la relación «funcionario»",
        "beim Aktualisieren von \x54upel (0,1) in Relation »\x66unktion«",
        "lors de la mise à jour de la ligne (0,1) dans la relation « \x66onction »",
        'SQL statement "SELECT 1 FROM ONLY "public"."funcionario" x WHERE "func_id" = $1"',
    ],
)
def test_error_of_a_statement_is_not_of_a_function(context: str | None) -> None:
    assert not names_function(context)


def test_absent_server_is_unreachable_and_may_come_back() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        error = refusal(f"postgresql://someone:{SECRET.replace('/', '%2F')}@127.0.0.1:{port}/bus")
    assert isinstance(error, DatabaseUnreachableError)
    assert isinstance(error, TransientError)
    assert f"127.0.0.1:{port}/bus" in error.problem


@contextmanager
def answering(**fields: str) -> Iterator[str]:
    """Yield the URL of a server that answers each start of a session with an error."""
    body = b"".join(f"{key}{value}".encode() + b"\0" for key, value in fields.items()) + b"\0"

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while length := int.from_bytes(self.rfile.read(4), "big"):
                code = int.from_bytes(self.rfile.read(length - 4)[:4], "big")
                if code == 3 << 16:  # a start, not a question for encryption
                    self.wfile.write(b"E" + (len(body) + 4).to_bytes(4, "big") + body)
                    return
                self.wfile.write(b"N")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            secret = SECRET.replace("/", "%2F")
            yield f"postgresql://someone:{secret}@127.0.0.1:{server.server_address[1]}/bus"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("severity", "state", "message"),
    [
        ("FATAL", "28P01", "la autentificación password falló para el usuario «someone»"),
        ("FATAL", "57P03", "el sistema de base de datos está iniciándose"),
        ("FATALE", "53300", "spiacente, troppi client già connessi"),
        ("致命的エラー", "3D000", 'データベース"bus"は存在しません'),
    ],
)
def test_answer_in_another_language_does_not_send_you_to_host_and_port(
    severity: str, state: str, message: str
) -> None:
    with answering(S=severity, V="FATAL", C=state, M=message) as url:
        error = refusal(url)
    # What can only be read may also pass by itself.
    assert isinstance(error, DatabaseUnreachableError)
    assert "answered, and let nobody in (" in error.problem
    assert message in error.problem
    assert all(word in error.remedy for word in ("role", "password", "TLS", "pg_hba.conf", "wait"))


def test_english_answer_is_understood() -> None:
    message = 'password authentication failed for user "someone"'
    with answering(S="FATAL", V="FATAL", C="28P01", M=message) as url:
        assert isinstance(refusal(url), DatabaseRefusedError)


@pytest.mark.parametrize(
    "options", ["sslmode=require", "sslmode=verify-full&sslrootcert=/nowhere/root.crt"]
)
def test_encryption_that_the_url_demands_and_does_not_get_is_a_refusal(
    workbench: str, options: str
) -> None:
    error = refusal(f"{workbench}?{options}")
    assert isinstance(error, DatabaseRefusedError)
    assert "TLS" in error.remedy


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


def test_limit_of_temporary_files_is_named_with_what_raises_it(empty_database: str) -> None:
    limits = "-c temp_file_limit=100kB -c work_mem=64kB"
    with (
        pytest.raises(DatabaseFailedError, match="temp_file_limit") as caught,
        connect(f"{empty_database}?options={quote(limits)}", application="test") as connection,
    ):
        user = connection.info.user
        connection.execute("SELECT n FROM generate_series(1, 100000) AS n ORDER BY n DESC")
    assert f'ALTER ROLE "{user}" SET temp_file_limit = -1' in caught.value.remedy
    assert "look at the server's log" not in caught.value.remedy


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


@pytest.mark.parametrize("failing", ["outer", "inner"])
@pytest.mark.parametrize(
    "statement",
    ["SELECT pg_sleep(5)", "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT * FROM kept"],
    ids=["timeout", "broken", "refused"],
)
def test_error_of_one_of_two_connections_names_its_own_database(
    workbench: str, empty_database: str, failing: str, statement: str
) -> None:
    urls = {"outer": workbench, "inner": empty_database}
    with (
        pytest.raises(ArSyncError) as caught,
        connect(urls["outer"], application="test") as outer,
        connect(urls["inner"], application="test") as inner,
    ):
        for connection in (outer, inner):
            connection.execute("CREATE TEMP TABLE kept (id integer)")
            connection.execute("SET ROLE pg_monitor")
            connection.execute("SET statement_timeout = 20")
        {"outer": outer, "inner": inner}[failing].execute(statement)
    assert database_label(urls[failing]) in caught.value.problem


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
