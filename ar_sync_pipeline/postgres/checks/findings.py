"""Findings of a check of a database: a problem and its remedy each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.visible_text import visible


class Level(StrEnum):
    """Severity of a finding."""

    NOTE = "note"
    """Works as documented; good to know."""
    WARNING = "warning"
    """Something is not replicated, or later than it could be."""
    ERROR = "error"
    """Dumps or loads fail because of it."""


@dataclass(frozen=True)
class Finding:
    """One fact about a database that an operator should know.

    Attributes:
        problem: What was found and where, without a final full stop.
        remedy: Action or statement of SQL, without a final full stop.
        sql: Statements that an administrator can run unchanged, if these are the remedy.
        area: What was checked, such as ``database`` or ``spool``.
        of_role: Whether it is about what the connection's role may do.
        unexamined: Whether it says that something could not be examined now, so that earlier
            findings of the area, or about `table` if it names one, may still be true.
        table: The only table that it is about; empty: several, or anything else.
        code: Code of the error that a run would fail with; empty if unknown.
    """

    level: Level
    problem: str
    remedy: str
    sql: str = ""
    area: str = ""
    of_role: bool = False
    unexamined: bool = False
    table: str = ""
    code: str = field(default="", compare=False)

    def __str__(self) -> str:
        """Return the problem and the remedy as one line, with special characters made visible."""
        return visible(f"{self.problem}: {self.remedy}.")


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that make a run fail."""
    return tuple(found for found in findings if found.level is Level.ERROR)


def as_error(error: ArSyncError) -> Finding:
    """Return the finding that a run would fail with an error."""
    return Finding(Level.ERROR, error.problem, error.remedy, code=error.code)
