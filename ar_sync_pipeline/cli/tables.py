"""Tables for a terminal of any width, and for a pipe: no cell is ever shortened or wrapped.

What an operator copies from a table (names, commands, fingerprints, SQL) stays whole on one line;
a terminal that is too narrow shows a long line on several rows of the screen and copies it whole.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

import click

from ar_sync_pipeline.cli.reporting import plain

_GAP = "  "


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Collection[int] = ()
) -> None:
    """Print rows under their heads; the last column may be as long as it likes.

    Args:
        numbers: the columns that are aligned to the right.
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
    """Columns of a terminal: wide characters take two, combining marks none (UAX #11)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
