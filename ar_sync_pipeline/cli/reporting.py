"""Result of a command: one message or one JSON object, and a documented exit code."""

from __future__ import annotations

import json
from typing import NoReturn

import click

from ar_sync_pipeline.errors import ArSyncError, TerminalError
from ar_sync_pipeline.visible_text import visible

FOUND_WRONG, USAGE_ERROR = 1, 2

_LONGEST_SHOWN = 4000

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


class InvalidCallError(TerminalError):
    """The arguments of a command are wrong, or name something that it cannot use."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, remedy="`ar-sync COMMAND --help` explains the arguments")


def plain(text: str) -> str:
    """Return text that may quote foreign text, safe for a terminal."""
    return visible(text, _LONGEST_SHOWN)


def print_error(error: ArSyncError) -> None:
    """Print the error as a JSON object."""
    result = {"ok": False, "code": error.code, "problem": error.problem, "remedy": error.remedy}
    click.echo(json.dumps(result))


def fail(error: ArSyncError, *, as_json: bool, exit_code: int) -> NoReturn:
    """Print the error, also as JSON if requested, and exit."""
    if as_json:
        print_error(error)
    click.echo(f"Error: {error}", err=True)
    raise SystemExit(exit_code)
