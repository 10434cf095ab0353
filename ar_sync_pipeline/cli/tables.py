"""Tables for a terminal of any width, and for a pipe: no cell is ever shortened or wrapped.

Text that an operator copies (names, commands, fingerprints, SQL) stays on one line; a narrow
terminal wraps a long line on the screen and still copies it as one line.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

import click

from ar_sync_pipeline.cli.reporting import plain

_GAP = "  "


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Collection[int]
) -> None:
    """Print rows under their heads; the last column may have any width.

    Args:
        heads: Heads of the columns.
        rows: Cells of each row.
        numbers: Columns that are aligned to the right.
    """
    shown = [[plain(cell) for cell in row] for row in rows]
    lines = [list(heads), *shown]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = [
            _padded(cell, width, to_the_right=column in numbers)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo(_GAP.join(cells).rstrip())


def _padded(cell: str, width: int, *, to_the_right: bool) -> str:
    blanks = " " * (width - _width(cell))
    return blanks + cell if to_the_right else cell + blanks


def _width(text: str) -> int:
    """Return the columns that a text takes: wide characters two, combining marks none (UAX #11)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
