"""Text of a settings file: the example file of the package with values filled in."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.package_files import package_text

_LINE = re.compile(r"^#?(AR_SYNC_\w+)=.*$", re.MULTILINE)
_PLAIN = re.compile(r"[\w./:@%+=,~*-]+", re.ASCII)
# Of control characters systemd takes only tabs (`env_value_is_valid` of its env-util.c).
_UNREADABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_HEADER_LINES = 2
# Lines with the same value for python-dotenv and systemd. Outside quotes and in double quotes they
# have different escapes; only the former knows ``${x}`` and comments after a value.
_READ_ALIKE = re.compile(
    r"""\s* \w+ [ \t]* = [ \t]*
    (?: (?!['"]) (?P<plain> (?: (?! \\ | \$\{ | \s\# ) . )* )
    | ' (?: (?! \$\{ ) [^'\\] )* ' [ \t]*
    | " (?: (?! \$\{ ) [^"\\] | \\ [\\"] )* " [ \t]*
    ) \n?""",
    re.VERBOSE | re.ASCII,
)


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
    """Return one variable as a line from which python-dotenv and systemd read exactly this value.

    Raises:
        UnwritableValueError: No spelling is read as this value, for example if it contains ``${``.
    """
    line = f"{name}={_quoted(value)}"
    if _UNREADABLE.search(value) or dotenv_values(stream=io.StringIO(line)) != {name: value}:
        raise UnwritableValueError(
            f"the value of {name} cannot be written to a file of settings",
            remedy="leave out ${ and control characters; in a database's URL write %24 for the $",
        )
    return line


def read_differently(text: str) -> list[str]:
    """Return the variables of a settings file that systemd reads otherwise than python-dotenv.

    Services get ``EnvironmentFile=``; Dagster and the commands use python-dotenv. A line without a
    variable that can be read is named by its number.
    """
    return [
        found.key or f"line {found.original.line}"
        for found in parse_stream(io.StringIO(text))
        if found.error or (found.key is not None and not _is_read_alike(found))
    ]


def unreadable_lines(text: str) -> list[int]:
    """Return the lines of a settings file that are no variable to python-dotenv."""
    return [found.original.line for found in parse_stream(io.StringIO(text)) if found.error]


def _is_read_alike(found: Binding) -> bool:
    match = _READ_ALIKE.fullmatch(found.original.string)
    if match is None or _UNREADABLE.search(found.value or ""):
        return False
    return match["plain"] is None or match["plain"].rstrip(" \t") == found.value


def _quoted(value: str) -> str:
    """Quote a value that is not plain, in single quotes if possible: shells, too, read it there.

    systemd has no escapes between single quotes, and between double quotes those of these two
    characters that python-dotenv has (``parse_env_file_internal`` of its env-file.c).
    """
    if _PLAIN.fullmatch(value):
        return value
    if "'" in value or "\\" in value:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return f"'{value}'"
