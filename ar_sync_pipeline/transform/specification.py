"""Parses ``AR_SYNC_TRANSFORM``: the built-in rules, a command, or nothing.

    builtin:transapp
    command:/opt/viz/transform.py {archive} {minutes}
    none

A command is split into words as by a shell (:mod:`shlex`), but no shell runs: each placeholder is
replaced inside its word, so a value never becomes two words or an operator (old system, D36).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime

from ar_sync_pipeline.transform.errors import TransformSpecificationError

PLACEHOLDERS = ("archive", "minutes", "window_start", "window_end")

_BUILTINS = ("transapp",)
_BRACES = re.compile(r"\{(?P<name>[^{}]*)\}")
_EXAMPLE = "use `builtin:transapp`, `command:<words>` or `none`"


@dataclass(frozen=True)
class BuiltinTransform:
    """Runs built-in rules.

    Attributes:
        name: Name of the rules; ``transapp`` is the only one.
    """

    name: str


@dataclass(frozen=True)
class CommandTransform:
    """Runs a program of the operator.

    Attributes:
        words: Program and arguments, with placeholders.
    """

    words: tuple[str, ...]


@dataclass(frozen=True)
class NoTransform:
    """Leaves the loaded rows unchanged."""


TransformSpecification = BuiltinTransform | CommandTransform | NoTransform


def parse_transform(text: str) -> TransformSpecification:
    """Parse the setting.

    Raises:
        TransformSpecificationError: The text has none of the three forms, names unknown rules or an
            unknown placeholder, has an unclosed quote, or no program.
    """
    kind, colon, rest = text.strip().partition(":")
    if kind == "none" and not colon:
        return NoTransform()
    if kind == "builtin" and colon:
        return _parse_builtin(rest)
    if kind == "command" and colon:
        return _parse_command(rest)
    raise TransformSpecificationError(f"`{text}` is not a transform", remedy=_EXAMPLE)


def command_line(
    specification: CommandTransform,
    *,
    archive: str,
    minutes: int,
    window_start: datetime,
    window_end: datetime,
) -> list[str]:
    """Return the command to execute, one list element per word.

    Args:
        specification: Command to run.
        archive: File name of the loaded archive.
        minutes: Minutes that the archive looks back from the end of its window.
        window_start: Start of the window, aware; written as ISO 8601 in UTC.
        window_end: End of the window, aware; written as ISO 8601 in UTC.

    Raises:
        TransformSpecificationError: A word names an unknown placeholder.
    """
    values = {
        "archive": archive,
        "minutes": str(minutes),
        "window_start": window_start.astimezone(UTC).isoformat(),
        "window_end": window_end.astimezone(UTC).isoformat(),
    }
    _refuse_unknown_placeholders(specification.words)
    return [_BRACES.sub(lambda match: values[match["name"]], word) for word in specification.words]


def _parse_builtin(name: str) -> BuiltinTransform:
    if name not in _BUILTINS:
        raise TransformSpecificationError(
            f"there is no built-in transform `{name}`", remedy="use `builtin:transapp`"
        )
    return BuiltinTransform(name)


def _parse_command(text: str) -> CommandTransform:
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise TransformSpecificationError(
            f"the transform command `{text}` cannot be split into words ({error})",
            remedy="close the quote, or escape it with a backslash",
        ) from error
    if not words or not words[0]:
        raise TransformSpecificationError(
            "the transform command names no program",
            remedy="write the program's path after `command:`",
        )
    _refuse_unknown_placeholders(words)
    return CommandTransform(words)


def _refuse_unknown_placeholders(words: tuple[str, ...]) -> None:
    unknown = {
        match["name"]
        for word in words
        for match in _BRACES.finditer(word)
        if match["name"] not in PLACEHOLDERS
    }
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise TransformSpecificationError(
            f"the transform command has the unknown placeholder {{{min(unknown)}}}",
            remedy=f"the placeholders are {known}",
        )
