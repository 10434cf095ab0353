"""Settings of the commands: the environment, and ``.env`` as Dagster reads it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import click
from dotenv import dotenv_values
from dotenv.main import logger as dotenv_logger

from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.files import is_kind
from ar_sync_pipeline.settings.env_file import unreadable_lines
from ar_sync_pipeline.settings.loading import PREFIX
from ar_sync_pipeline.settings.places import unreadable_remedy


class EnvironmentFileError(TerminalError):
    """The file of settings exists and cannot be read."""


_said = set[str]()


def operator_environment() -> dict[str, str]:
    """Return the variables of ``.env`` in the current folder, overridden by the environment.

    Variables of other programs, such as PGPASSFILE, are set for this process too, as Dagster does:
    libpq and TLS read them from there.

    Raises:
        EnvironmentFileError: The file is not readable for this account, or is not text.
    """
    # Not Path.cwd(), which fails in a folder that was deleted.
    file = Path(".env")
    try:
        values = _values(file)
    except OSError as error:
        raise EnvironmentFileError(
            f"the settings in {file.absolute()} cannot be read ({error.strerror})",
            remedy=unreadable_remedy(),
        ) from error
    if any("\0" in text for pair in values.items() for text in pair if text):
        raise EnvironmentFileError(
            f"the settings in {file.absolute()} cannot be read (a byte in them is 0)",
            remedy="write the file again, as text in UTF-8",
        )
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if not name.startswith(PREFIX):
            os.environ.setdefault(name, value)
    return given | dict(os.environ)


def _values(file: Path) -> dict[str, str | None]:
    """Return the variables of a file as Dagster reads them; name lines that are none, once.

    Raises:
        OSError: The file cannot be read.
        EnvironmentFileError: It is not text.
    """
    if not (
        is_kind(Path.is_file, file) or is_kind(Path.is_fifo, file)
    ):  # python-dotenv takes it for an empty one
        return {}
    content = file.read_bytes()
    try:
        # As in a file that is opened as text.
        text = io.TextIOWrapper(io.BytesIO(content), "utf-8").read()
    except UnicodeDecodeError:
        raise EnvironmentFileError(
            f"the settings in {file.absolute()} cannot be read (line {_line_of_fault(content)} is"
            " not text in UTF-8)",
            remedy="save the file as UTF-8, without the characters of another encoding",
        ) from None
    for number in unreadable_lines(text):
        said = f"line {number} of {file.absolute()} is no NAME=VALUE and is ignored"
        if said not in _said:
            _said.add(said)
            click.echo(f"warning: {said}: correct or remove it", err=True)
    dotenv_logger.disabled = True  # it says so without the file, each time
    try:
        return dotenv_values(stream=io.StringIO(text))
    finally:
        dotenv_logger.disabled = False


def _line_of_fault(content: bytes) -> int:
    lines = content.splitlines()
    return next(
        number
        for number, line in enumerate(lines, 1)
        if line.decode("utf-8", "replace").encode() != line
    )
