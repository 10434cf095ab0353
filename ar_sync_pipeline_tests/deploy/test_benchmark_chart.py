"""The chart of docs/benchmarks.md shows the figures of its table."""

from __future__ import annotations

from benchmarks.chart import CHART, PAGE, chart, ratios


def test_chart_is_drawn_from_the_table_as_it_is() -> None:
    rows = ratios(PAGE.read_text())
    assert len(rows) >= 8
    assert CHART.read_text() == chart(rows)  # else run `python -m benchmarks.chart`


def test_the_same_repeats_what_stands_above() -> None:
    found = ratios(
        "| a | b | r | f |\n|---|---|--:|---|\n| x | `y` | 1.5 | |\n| the same | z | 2 | |\n\n"
    )
    assert [(row.what, row.beside, row.ratio) for row in found] == [("x", "y", 1.5), ("x", "z", 2)]
