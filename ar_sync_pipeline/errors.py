"""The errors of the product: each says what is wrong, where, and what to do about it.

The class of an error is its retry policy, so that no caller has to read messages::

    ArSyncError
    ├── TransientError   try again now, it may pass by itself (a cut connection)
    ├── ParkedError      try again when something changes (a missing migration, a full disk)
    └── TerminalError    a person has to act (a corrupt archive, a wrong key)

Packages derive their own small classes from these three. A message is one sentence that
names the thing, followed by the remedy; it never holds a secret. It may quote names that somebody
else made, so every message is made visible and is cut here, where nothing can forget it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import ClassVar

from ar_sync_pipeline.visible_text import visible, visible_lines

LONGEST_PROBLEM, LONGEST_REMEDY = 700, 400
_BEFORE_A_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class RetryPolicy(StrEnum):
    """What a caller should do with a failed operation."""

    RETRY = "retry"
    WAIT = "wait"
    GIVE_UP = "give up"


def code_of_class(name: str) -> str:
    """The code of an error whose class has a name and no code of its own."""
    return _BEFORE_A_WORD.sub("-", name.removesuffix("Error")).lower()


class ArSyncError(Exception):
    """A failure that an operator can understand: ``problem`` and ``remedy``, no traceback.

    Args:
        problem: what is wrong and where, without a final full stop.
        remedy: what to do, without a final full stop.

    Attributes:
        code: what programs tell errors apart by, such as ``spool-missing``. It is that of the
            class's name unless the class says otherwise, and never changes (docs/errors.md).
        of_lines: the problem is a list of lines, each of which is a message.
    """

    code: ClassVar[str] = "failed"
    policy: RetryPolicy = RetryPolicy.GIVE_UP
    of_lines: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Give a class without a code of its own the one of its name."""
        if "code" not in vars(cls):
            cls.code = code_of_class(cls.__name__)

    def __init__(self, problem: str, *, remedy: str) -> None:
        show = visible_lines if self.of_lines else visible
        self.problem = show(problem, LONGEST_PROBLEM)
        self.remedy = visible(remedy, LONGEST_REMEDY)
        super().__init__(self.problem, self.remedy)

    def __str__(self) -> str:
        """One sentence for people: the problem, then the remedy."""
        return f"{self.problem}: {self.remedy}."


class TransientError(ArSyncError):
    """May pass by itself within minutes: retry now, with backoff."""

    policy = RetryPolicy.RETRY


class ParkedError(ArSyncError):
    """Cannot succeed until something changes: keep the work, try again after the change."""

    policy = RetryPolicy.WAIT


class TerminalError(ArSyncError):
    """Can never succeed as it is: keep the evidence, tell a person."""

    policy = RetryPolicy.GIVE_UP
