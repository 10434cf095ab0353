"""A code location with wrong settings says what is wrong, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from dagster._utils.error import serializable_error_info_from_exc_info

from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.operations.location_error import LocationError, location_errors
from ar_sync_pipeline_tests.fix_dagster import dagster_command

WRONG = {"AR_SYNC_REMOTE_PORT": "notaport"}


def test_the_ui_shows_the_message_without_a_traceback() -> None:
    try:
        with location_errors():
            raise TerminalError("the catalog is wrong", remedy="correct it")
    except LocationError:
        shown = serializable_error_info_from_exc_info(sys.exc_info())
    assert shown.to_string() == "the catalog is wrong: correct it."


def test_an_error_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), location_errors():
        raise ZeroDivisionError


@pytest.mark.long
@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_a_code_server_ends_with_all_errors_and_no_traceback(side: str, tmp_path: Path) -> None:
    module = f"ar_sync_pipeline.{side}"
    done = dagster_command(
        "dagster", "api", "grpc", "-m", module, "-s", "s", home=tmp_path, environment=WRONG
    )
    assert done.returncode == 1
    assert f"errors in the settings of the {side}\n" in done.stderr
    assert f"AR_SYNC_{side.upper()}_DATABASE_URL: is not set" in done.stderr
    assert "Traceback" not in done.stderr
