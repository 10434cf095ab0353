"""The chart of docs/benchmarks.md, drawn from its first table.

    .venv/bin/python -m benchmarks.chart

A bar to the right of 1: this product is faster than what stands beside it; to the left: slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from math import log2
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PAGE, CHART = DOCS / "benchmarks.md", DOCS / "images" / "benchmarks.svg"
_ROW, _LABELS, _WIDTH, _LEFT, _RIGHT = 34, 430, 860, -1.25, 2.0
_TEXT = 'font-family="system-ui, sans-serif" font-size="12" fill="#57606a"'


@dataclass(frozen=True)
class Ratio:
    """One row of the table: ``ratio`` times as fast as ``beside``."""

    what: str
    beside: str
    ratio: float


def ratios(page: str) -> list[Ratio]:
    """Return the rows of the first table of the page; "the same" repeats the row before."""
    found: list[Ratio] = []
    for line in page.partition("|---|---|--:|---|\n")[2].partition("\n\n")[0].splitlines():
        what, beside, ratio, *_ = (cell.strip().replace("`", "") for cell in line[1:].split("|"))
        before = found[-1] if found else None
        found.append(
            Ratio(
                before.what if before and what == "the same" else what,
                before.beside if before and beside == "the same" else beside,
                float(ratio),
            )
        )
    return found


def chart(rows: list[Ratio]) -> str:
    """Return the chart as SVG."""
    height = _ROW * len(rows) + 50
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
            f' viewBox="0 0 {_WIDTH} {height}" role="img">'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_place(1)}" y="18" text-anchor="middle" {_TEXT}>as fast</text>',
    ]
    for mark in (0.5, 1, 2, 4):
        x = _place(mark)
        parts.append(f'<line x1="{x}" x2="{x}" y1="24" y2="{height - 22}" stroke="#d0d7de"/>')
        text = f'<text x="{x}" y="{height - 6}" text-anchor="middle" {_TEXT}>{mark:g}x</text>'
        parts.append(text)
    for number, row in enumerate(rows):
        parts += _bar(row, 30 + number * _ROW)
    return "\n".join([*parts, "</svg>", ""])


def _bar(row: Ratio, y: int) -> list[str]:
    one, end = _place(1), _place(row.ratio)
    color = "#1a7f37" if row.ratio >= 1 else "#bc4c00"
    after = max(one, end) + 6
    return [
        f'<text x="8" y="{y + 11}" {_TEXT}>{escape(_short(row.what))}</text>',
        (
            f'<text x="8" y="{y + 25}" {_TEXT} font-style="italic">'
            f"{escape(_short(f'beside {row.beside}'))}</text>"
        ),
        (
            f'<rect x="{min(one, end)}" y="{y + 4}" width="{abs(end - one)}" height="18" rx="2"'
            f' fill="{color}"/>'
        ),
        f'<text x="{after}" y="{y + 17}" {_TEXT} font-weight="600">{row.ratio:g}x</text>',
    ]


def _place(ratio: float) -> int:
    share = (log2(ratio) - _LEFT) / (_RIGHT - _LEFT)
    return round(_LABELS + share * (_WIDTH - _LABELS - 50))


def _short(text: str, most: int = 66) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


if __name__ == "__main__":
    CHART.write_text(chart(ratios(PAGE.read_text())))
    print(CHART)
