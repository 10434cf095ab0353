"""Result of a command: one message or one JSON object, and a documented exit code."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from contextlib import suppress
from typing import Any, NoReturn

import click

from ar_sync_pipeline.errors import ArSyncError, TerminalError
from ar_sync_pipeline.visible_text import visible

FOUND_WRONG, USAGE_ERROR = 1, 2
INTERRUPTED = 130  # that of a shell for a program which SIGINT ended
OUTPUT_CLOSED = 141  # the same of SIGPIPE

_LONGEST_SHOWN = 4000

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


class InvalidCallError(TerminalError):
    """The arguments of a command are wrong, or name something that it cannot use."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, remedy="`ar-sync COMMAND --help` explains the arguments")


class CallInterruptedError(TerminalError):
    """Ctrl-C ended a command, or its input ended before all questions were answered."""

    def __init__(self) -> None:
        super().__init__(
            "the command was interrupted, or its input ended before all questions were answered",
            remedy="call it again; what `init` asks for can be given by --set and --no-input",
        )


class FolderDeletedError(TerminalError):
    """The folder in which a command was called does not exist any more."""

    def __init__(self) -> None:
        super().__init__(
            "the current folder was deleted",
            remedy="change to the folder of the .env file, and call the command again",
        )


def write_utf8() -> None:
    """Write UTF-8 to files and pipes, whatever the locale: SQL and TOML are read as that.

    A terminal keeps its encoding; what that lacks is escaped.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and codecs.lookup(sys.stdout.encoding).name != (
        "utf-8"
    ):
        encoding = None if sys.stdout.isatty() else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")


def plain(text: str) -> str:
    """Return text that may quote foreign text, safe for a terminal."""
    return visible(text, _LONGEST_SHOWN)


def as_object(error: ArSyncError) -> dict[str, Any]:
    """Return what a JSON object says about an error."""
    return {"ok": False, "code": error.code, "problem": error.problem, "remedy": error.remedy}


def print_error(error: ArSyncError) -> None:
    """Print the error as a JSON object."""
    click.echo(json.dumps(as_object(error)))


def fail(error: ArSyncError, *, as_json: bool, exit_code: int) -> NoReturn:
    """Print the error, also as JSON if requested, and exit."""
    try:
        if as_json:
            print_error(error)
        sys.stdout.flush()
    except OSError:
        # The output itself is what failed: a full disk, or a reader that is gone.
        _discard_output()
    click.echo(f"Error: {error}", err=True)
    raise SystemExit(exit_code)


def _discard_output() -> None:
    """Discard what is still to be written, or Python would fail with its own exit code."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
