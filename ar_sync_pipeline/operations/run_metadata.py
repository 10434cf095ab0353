"""Metadata in the same form on both sides: columns, tables of counts, seconds by phase."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import dagster as dg

from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings
from ar_sync_pipeline.visible_text import as_markdown

_RECEIVER_ONLY = "Only the receiver has it."


@dataclass(frozen=True)
class Link:
    """A page of the Dagster UI; both parts come from this product and need no escaping."""

    text: str
    path: str

    def __str__(self) -> str:
        """Return the link in Markdown."""
        return f"[{self.text}]({self.path})"


Cell = str | float


class DescribedColumn(Protocol):
    """A column as a manifest or the database describes it."""

    @property
    def name(self) -> str:
        """Name in the table."""

    @property
    def type(self) -> str:
        """Type as PostgreSQL names it."""

    @property
    def nullable(self) -> bool:
        """Whether it may be NULL."""


def column_schema(
    columns: Sequence[DescribedColumn],
    primary_key: Sequence[str] = (),
    *,
    is_receiver_only: Callable[[str], bool] = lambda _: False,
) -> dict[str, Any]:
    """Return the columns of a table, under the metadata key that Dagster displays as a schema.

    Args:
        columns: Columns of the table.
        primary_key: Names of its columns.
        is_receiver_only: Whether only the receiver has a column of this name.
    """
    shown = [
        dg.TableColumn(
            column.name,
            column.type,
            description=_RECEIVER_ONLY if is_receiver_only(column.name) else None,
            constraints=dg.TableColumnConstraints(
                nullable=column.nullable, unique=list(primary_key) == [column.name]
            ),
        )
        for column in columns
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=shown)}


def markdown_table(
    heads: Sequence[str], rows: Sequence[Sequence[Cell]]
) -> dg.MarkdownMetadataValue | str:
    """Return a table of text and numbers, numbers aligned right; "none" if there are no rows."""
    if not rows:
        return "none"
    sides = ["--:" if isinstance(cell, int | float) else "---" for cell in rows[0]]
    lines = [heads, sides, *(map(_cell, row) for row in rows)]
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in lines))


def markdown_list(lines: Sequence[str]) -> dg.MarkdownMetadataValue | str:
    """Return a list of Markdown lines; "none" if there are no lines."""
    return dg.MetadataValue.md("\n".join(f"- {line}" for line in lines)) if lines else "none"


def seconds_by_phase(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the total and each phase as numbers, so that each has a plot."""
    phases = {f"seconds_{phase}": round(value, 3) for phase, value in seconds.items()}
    return {"seconds": round(sum(seconds.values()), 3), **phases}


def _cell(value: Cell) -> str:
    """Return a number with thousands separators, or text of unknown origin escaped for Markdown."""
    return as_markdown(value) if isinstance(value, str) else f"{value:,}"


def settings_metadata(settings: SenderSettings | ReceiverSettings) -> dict[str, Any]:
    """Return the warnings about the settings; nothing if there are none."""
    return {"settings": " ".join(settings.warnings)} if settings.warnings else {}
