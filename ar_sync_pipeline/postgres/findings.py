"""What an examination of a database finds: one sentence each, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.visible_text import visible


class Level(StrEnum):
    """How much a finding matters."""

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
        problem: what is so and where, without a final full stop.
        remedy: an action or a statement of SQL, likewise.
        sql: statements that an administrator can run as they are, where these are the remedy.
        area: what was examined, such as ``database`` or ``spool``.
    """

    level: Level
    problem: str
    remedy: str
    sql: str = ""
    area: str = ""

    def __str__(self) -> str:
        """One sentence: the problem, then the remedy; names in it are visible."""
        return visible(f"{self.problem}: {self.remedy}.")


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings because of which a run fails."""
    return tuple(found for found in findings if found.level is Level.ERROR)


def as_error(error: ArSyncError) -> Finding:
    """The finding that a run would fail with an error."""
    return Finding(Level.ERROR, error.problem, error.remedy)
