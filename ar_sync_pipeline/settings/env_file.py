"""Text of a settings file: the example file of the package with values filled in."""

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
    """A value that no settings file can contain."""


def env_text(side: str, values: Mapping[str, str]) -> str:
    """Return the ``.env`` of a side: the values, and all other variables as comments with defaults.

    Args:
        side: ``sender`` or ``receiver``.
        values: Values by variable of this side; an empty value counts as unset.

    Raises:
        UnwritableValueError: A value would be read as another one.
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
    """Return one variable as a line from which exactly this value is read.

    Raises:
        UnwritableValueError: No spelling is read as this value, for example if it contains ``${``.
    """
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    line = f"{name}={value}" if _PLAIN.fullmatch(value) else f"{name}='{escaped}'"
    if "\n" in value or dotenv_values(stream=io.StringIO(line)) != {name: value}:
        raise UnwritableValueError(
            f"the value of {name} cannot be written to a file of settings",
            remedy="leave out ${ and line breaks; in a database's URL write %24 for the $",
        )
    return line
