"""Renders comparisons as tables for a terminal, without printing them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ar_sync_pipeline.demo.equality import MediaComparison, TableComparison

_NAMES_SHOWN = 3


def database_table(comparisons: Sequence[TableComparison]) -> Table:
    """Return a table with a line per table: rows on both sides, rows that differ, and a total."""
    table = Table(title="Sender and receiver, row by row", show_footer=True)
    table.add_column("table", footer=f"{len(comparisons)} tables", no_wrap=True)
    for side, rows in (
        ("sender rows", sum(each.sender_rows for each in comparisons)),
        ("receiver rows", sum(each.receiver_rows for each in comparisons)),
        ("differ", sum(each.differing_rows for each in comparisons)),
    ):
        table.add_column(side, justify="right", footer=f"{rows:,}")
    table.add_column("columns", justify="right")
    table.add_column("verdict", footer=_verdict(all(each.equal for each in comparisons)))
    for each in comparisons:
        table.add_row(
            each.table.removeprefix("AndroidRequests_"),
            f"{each.sender_rows:,}",
            f"{each.receiver_rows:,}",
            f"{each.differing_rows:,}",
            str(len(each.columns)),
            _table_verdict(each),
        )
    return table


def media_line(comparison: MediaComparison) -> Text:
    """Return a line with files, bytes, and the first names that are missing or differ."""
    line = Text(
        f"{comparison.sender_files:,} pictures, {comparison.size_bytes / 1e6:.1f} MB:"
        f" {len(comparison.missing)} missing, {len(comparison.changed)} differ,"
        f" {len(comparison.extra)} only at the receiver: "
    )
    line.append(_verdict(comparison.equal))
    names = (comparison.missing + comparison.changed)[:_NAMES_SHOWN]
    return line.append(f" ({', '.join(names)})" if names else "")


def _table_verdict(comparison: TableComparison) -> Text:
    verdict = _verdict(comparison.equal)
    if comparison.unlike_columns:
        verdict.append(f", columns unlike: {', '.join(comparison.unlike_columns)}")
    if comparison.first_difference is not None:
        verdict.append(f", first at {comparison.first_difference}")
    if comparison.excluded_columns:
        verdict.append(f" without {', '.join(comparison.excluded_columns)}", style="dim")
    return verdict


def _verdict(equal: bool) -> Text:
    return Text("equal", style="green") if equal else Text("differs", style="bold red")
