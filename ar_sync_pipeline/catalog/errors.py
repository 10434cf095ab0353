"""Errors of a catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.package_files import installed_path


class CatalogError(TerminalError):
    """The catalog file is wrong, or contradicts the database."""


@dataclass(frozen=True)
class ValidationProblem:
    """One error in a catalog file: its place, the problem and the remedy."""

    place: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        """Return one line for the operator."""
        return f"{self.place}: {self.problem}: {self.remedy}"


class InvalidCatalogError(CatalogError):
    """A catalog that cannot be used: every error, in the order of the file.

    Args:
        label: Label of the file.
        problems: Errors of the values, at least one.
    """

    code = "catalog-mistakes"
    of_lines = True

    def __init__(self, label: str, problems: Sequence[ValidationProblem]) -> None:
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        lines = "".join(f"\n  {found}" for found in problems)
        super().__init__(
            f"{count} in the catalog {label}{lines}",
            remedy="correct the file, then reload;"
            f" {installed_path('docs/catalog.md')} explains every key",
        )
        self.problems = tuple(problems)

    def __str__(self) -> str:
        """Return the errors, one per line, then the remedy."""
        return f"{self.problem}\n{self.remedy.capitalize()}."
