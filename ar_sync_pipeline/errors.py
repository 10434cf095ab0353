"""Base classes of all errors: each says what is wrong, where, and what to do about it.

The class of an error is its retry policy, so no caller has to parse messages::

    ArSyncError
    ├── TransientError   try again now, the cause may be gone (an interrupted connection)
    ├── ParkedError      try again when something changes (a missing migration, a full disk)
    └── TerminalError    an operator has to act (a corrupt archive, a wrong key)

Packages derive their own classes from these three. A message is one sentence that names the
object, followed by the remedy; it never contains a secret. It may quote names from outside, so
the base class makes every message visible and truncates it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Generic, TypeVar

from ar_sync_pipeline.visible_text import visible, visible_lines

LONGEST_PROBLEM, LONGEST_REMEDY = 700, 400
NO_ACTION = "no action is needed"
"""Beginning of the remedy of what ends by itself."""

_BEFORE_A_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class RetryPolicy(StrEnum):
    """What a caller does after a failed operation."""

    RETRY = "retry"
    WAIT = "wait"
    GIVE_UP = "give up"


def code_of_class(name: str) -> str:
    """Return the error code that follows from a class name."""
    return _BEFORE_A_WORD.sub("-", name.removesuffix("Error")).lower()


def known_code(name: str) -> str | None:
    """Return the error code of the product's class of this name; None if it has no such class."""
    return next((found.code for found in _classes(ArSyncError) if found.__name__ == name), None)


def _classes(base: type[ArSyncError]) -> Iterator[type[ArSyncError]]:
    for found in base.__subclasses__():
        yield found
        yield from _classes(found)


class ArSyncError(Exception):
    """A failure that is shown to an operator as ``problem`` and ``remedy``, without a traceback.

    Args:
        problem: What is wrong and where, without a final full stop.
        remedy: What to do, without a final full stop.

    Attributes:
        code: Stable identifier for programs, such as ``spool-missing``. It follows from the class
            name unless the class sets its own, and never changes (docs/errors.md).
        of_lines: Whether the problem is a list of lines, each of which is a message.
    """

    code: ClassVar[str] = "failed"
    policy: RetryPolicy = RetryPolicy.GIVE_UP
    of_lines: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Derive the code from the class name where the class sets none."""
        super().__init_subclass__()
        if "code" not in vars(cls):
            cls.code = code_of_class(cls.__name__)

    def __init__(self, problem: str, *, remedy: str) -> None:
        show = visible_lines if self.of_lines else visible
        self.problem = show(problem, LONGEST_PROBLEM)
        self.remedy = visible(remedy, LONGEST_REMEDY)
        super().__init__(self.problem, self.remedy)

    def __str__(self) -> str:
        """Return one sentence: the problem, then the remedy."""
        return f"{self.problem}: {self.remedy}."


class TransientError(ArSyncError):
    """May be gone within minutes: retry now, with backoff."""

    policy = RetryPolicy.RETRY


class ParkedError(ArSyncError):
    """Cannot succeed until something changes: keep the archive, retry after the change."""

    policy = RetryPolicy.WAIT


class TerminalError(ArSyncError):
    """Can never succeed as it is: keep the evidence, notify an operator."""

    policy = RetryPolicy.GIVE_UP


@dataclass(frozen=True)
class ValidationProblem:
    """One error in a file or an environment: its place, the problem and the remedy."""

    place: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        """Return one line for the operator."""
        return f"{self.place}: {self.problem}: {self.remedy}"


FoundProblem = TypeVar("FoundProblem", bound=ValidationProblem)


class ValidationProblemsError(TerminalError, Generic[FoundProblem]):
    """Input that cannot be used, with all of its errors, one a line.

    Args:
        what: Name of the input.
        problems: Its errors, at least one, in the order of the input.
    """

    of_lines = True

    def __init__(self, what: str, problems: Sequence[FoundProblem], *, remedy: str) -> None:
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        lines = "".join(f"\n  {found}" for found in problems)
        super().__init__(f"{count} in {what}{lines}", remedy=remedy)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        """Return the errors, one a line, then the remedy."""
        return f"{self.problem}\n{self.remedy[:1].upper()}{self.remedy[1:]}."
