"""What an examination of a database finds: one sentence each, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ar_sync_pipeline.postgres.errors import SchemaError


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
        subject: what it is about: a table, a view, a pattern, the database.
        problem: without a final full stop, to be read after the subject.
        remedy: an action or a statement of SQL.
    """

    level: Level
    subject: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        """One sentence: the subject, the problem, the remedy."""
        return f"{self.subject} {self.problem}: {self.remedy}."


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings because of which a run fails."""
    return tuple(found for found in findings if found.level is Level.ERROR)


def refuse(findings: Sequence[Finding]) -> None:
    """Raise one error that says all of these findings.

    Raises:
        SchemaError: there is a finding.
    """
    if not findings:
        return
    remedies = dict.fromkeys(found.remedy for found in findings)
    raise SchemaError(
        "; ".join(f"{found.subject} {found.problem}" for found in findings),
        remedy="; ".join(remedies),
    )
