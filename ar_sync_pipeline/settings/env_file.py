"""A file of settings as text: the shipped example with values filled in."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

from dotenv import dotenv_values

from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.package_files import package_text

_LINE = re.compile(r"^#?(AR_SYNC_\w+)=.*$", re.MULTILINE)
_PLAIN = re.compile(r"[\w./:@%+=,~*-]+", re.ASCII)
_HEADER_LINES = 2


class UnwritableValueError(TerminalError):
    """A value that no file of settings can hold."""


def env_text(side: str, values: Mapping[str, str]) -> str:
    """The ``.env`` of a side: the values, and every other variable as a comment with its default.

    Args:
        values: by variable of this side; an empty one counts as unset.

    Raises:
        UnwritableValueError: a value would be read as another one.
    """
    example = package_text(f"{side}.env.example").split("\n", _HEADER_LINES)[_HEADER_LINES]
    header = (
        f"# Settings of the {side}, written by `ar-sync init {side}`.\n"
        "# Lines with a leading # show the default; docs/settings.md explains all of them.\n"
    )
    return header + _LINE.sub(
        lambda line: env_line(line[1], values[line[1]]) if values.get(line[1]) else line[0], example
    )


def env_line(name: str, value: str) -> str:
    """One variable, written so that it is read as it is.

    Raises:
        UnwritableValueError: no spelling is read as this value, as of one that holds ``${``.
    """
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    line = f"{name}={value}" if _PLAIN.fullmatch(value) else f"{name}='{escaped}'"
    if "\n" in value or dotenv_values(stream=io.StringIO(line)) != {name: value}:
        raise UnwritableValueError(
            f"the value of {name} cannot be written to a file of settings",
            remedy="leave out ${ and line breaks; in a database's URL write %24 for the $",
        )
    return line
