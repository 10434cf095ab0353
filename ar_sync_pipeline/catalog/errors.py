"""Errors of a catalog."""

from __future__ import annotations

from collections.abc import Sequence

from ar_sync_pipeline.errors import TerminalError, ValidationProblem, ValidationProblemsError
from ar_sync_pipeline.package_files import installed_path


class CatalogError(TerminalError):
    """The catalog file is wrong, or contradicts the database."""


class InvalidCatalogError(ValidationProblemsError[ValidationProblem], CatalogError):
    """A catalog that cannot be used: every error, in the order of the file.

    Args:
        label: Label of the file.
        problems: Errors of the values, at least one.
    """

    code = "catalog-mistakes"  # codespell:ignore mistakes

    def __init__(self, label: str, problems: Sequence[ValidationProblem]) -> None:
        super().__init__(
            f"the catalog {label}",
            problems,
            remedy="correct the file, then reload;"
            f" {installed_path('docs/catalog.md')} explains every key",
        )
