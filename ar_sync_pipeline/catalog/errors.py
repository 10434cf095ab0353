"""What can be wrong with a catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.package_files import installed_path


class CatalogError(TerminalError):
    """The catalog file, or what it says about the database, is wrong."""


@dataclass(frozen=True)
class Mistake:
    """One mistake in a catalog file: where it is, what is wrong, what to do."""

    place: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        """One line for the operator."""
        return f"{self.place}: {self.problem}: {self.remedy}"


class CatalogMistakesError(CatalogError):
    """A catalog that cannot be used: every mistake, in the order of the file.

    Args:
        label: of the file.
        mistakes: at least one.
    """

    of_lines = True

    def __init__(self, label: str, mistakes: Sequence[Mistake]) -> None:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        lines = "".join(f"\n  {found}" for found in mistakes)
        super().__init__(
            f"{count} in the catalog {label}{lines}",
            remedy="correct the file, then reload;"
            f" {installed_path('docs/catalog.md')} explains every key",
        )
        self.mistakes = tuple(mistakes)

    def __str__(self) -> str:
        """The mistakes, one a line, then the remedy."""
        return f"{self.problem}\n{self.remedy.capitalize()}."
