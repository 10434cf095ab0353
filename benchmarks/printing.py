"""Tables of what several ways cost, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.measuring import Figures


@dataclass(frozen=True)
class Part:
    """One work, done in several ways.

    Attributes:
        figures: by way; the ratios are to the first.
        changed_mb: what the changed rows take as they are stored; 0: nothing to compare with.
        notes: by way.
    """

    title: str
    figures: Mapping[str, Figures]
    changed_mb: float = 0.0
    notes: Mapping[str, str] = field(default_factory=dict)


def print_text(part: Part) -> None:
    """Print aligned columns."""
    print(f"\n{part.title}\n{'':32}{'wall s':>8}{'':7}{'CPU s':>7}{'':7}{'WAL MB':>8}", end="")
    print(f"{'of changed':>11}{'peak MB':>9}{'longest wait ms':>17}  reads failed")
    ours = next(iter(part.figures.values()))
    for way, f in part.figures.items():
        share = f"{f.wal_mb / part.changed_mb:.1f}x" if part.changed_mb else ""
        watched = f"{f.longest_wait_seconds * 1000:17.0f}  {f.failed_reads} of {f.reads}"
        print(
            f"{way:32}{f.seconds:8.1f}{f.seconds / ours.seconds:6.1f}x{f.cpu_seconds:7.1f}"
            f"{f.cpu_seconds / ours.cpu_seconds:6.1f}x{f.wal_mb:8.1f}{share:>11}{f.peak_mb:9.0f}"
            f"{watched if f.reads else ''}  {part.notes.get(way, '')}",
            flush=True,
        )


def print_markdown(part: Part) -> None:
    """Print a table of a page."""
    print(f"\n{part.title}\n")
    print("| way | wall s | of ours | CPU s | WAL MB | peak MB | longest wait ms | reads failed |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    ours = next(iter(part.figures.values()))
    for way, f in part.figures.items():
        named = f"{way} ({part.notes[way]})" if way in part.notes else way
        watched = f"{f.longest_wait_seconds * 1000:.0f} | {f.failed_reads} of {f.reads}"
        print(
            f"| {named} | {f.seconds:.1f} | {f.seconds / ours.seconds:.2f} | {f.cpu_seconds:.1f}"
            f" | {f.wal_mb:.0f} | {f.peak_mb:.0f} | {watched if f.reads else ' | '} |",
            flush=True,
        )
