"""What leaves a step of a run is one message, whatever raised it."""

from __future__ import annotations

import click
import dagster as dg
import psycopg
import pytest
from click.testing import CliRunner

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.postgres.connect import connect


def fail_at(url: str, statement: str) -> None:
    with connect(url, application="test") as connection:
        connection.execute("CREATE TEMP TABLE t (secret text UNIQUE)")
        connection.execute("INSERT INTO t VALUES ('planted')")
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT photo FROM t", 'UndefinedColumn (column "photo" does not exist)'),
        (
            "SELECT count(*) FROM t WHERE secret::int = 1",
            "InvalidTextRepresentation (invalid input syntax for type integer)",
        ),
        ("INSERT INTO t VALUES ('planted')", "UniqueViolation (duplicate key value"),
        ("DO $$ BEGIN RAISE 'anything'; END $$", "RaiseException (anything)"),
    ],
)
def test_error_of_a_statement_is_one_message_without_values_of_rows(
    empty_database: str, statement: str, said: str
) -> None:
    with pytest.raises(dg.Failure) as caught, operator_errors():
        fail_at(empty_database, statement)
    text = str(caught.value.description)
    assert said in text
    assert "planted" not in text
    assert "\n" not in text
    assert caught.value.metadata["error"].value == "statement-failed"
    assert caught.value.__cause__ is None


def test_command_says_it_in_one_message_too(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fails(click.Command):
        def invoke(self, ctx: click.Context) -> None:  # noqa: ARG002
            fail_at(empty_database, "SELECT photo FROM t")

    monkeypatch.setattr(type(main), "get_command", lambda *_: Fails("status"))
    answer = CliRunner().invoke(main, ["status"])
    assert (answer.exit_code, answer.output.count("\n")) == (2, 1)
    assert answer.output.startswith("Error: the database answered a statement with UndefinedColumn")


def test_error_of_the_driver_without_a_server_is_one_message() -> None:
    with pytest.raises(dg.Failure, match="has 1 placeholder"), operator_errors():
        raise psycopg.ProgrammingError("the query has 1 placeholder")
