"""Columns of which a catalog's file speaks in comments only, as the draft leaves them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import Finding, Level

_COMMENTED = re.compile(r"#\s*((?:exclude|mask)\s*=.*)")


def undecided_columns(file: Path, catalog: Catalog) -> Iterator[Finding]:
    """Yield a note with the number of columns whose rules are commented out in a file.

    Args:
        file: File of the catalog.
        catalog: What it contains.
    """
    undecided = {
        (label, name)
        for label, name in _commented(file.read_text("utf-8-sig"))
        if catalog.replicates(label)
        and name not in {*catalog.rules(label).exclude, *catalog.rules(label).mask}
    }
    if undecided:
        count = len(undecided)
        found = "1 column that looks" if count == 1 else f"{count} columns that look"
        yield Finding(
            Level.NOTE,
            f"{found} personal {'is' if count == 1 else 'are'} in comments only, and sent as"
            f" {'it is' if count == 1 else 'they are'}",
            "choose a rule for each, or delete its comment",
            area="both",
        )


def _commented(text: str) -> Iterator[tuple[str, str]]:
    """Yield the label and the column of each rule that is a comment in a table's section."""
    label = None
    for line in text.splitlines():
        if line.startswith("["):
            label = next(iter(_parsed(line).get("table", {})), None)
        elif label is not None and (match := _COMMENTED.match(line)):
            for names in _parsed(match[1]).values():
                if isinstance(names, list | dict):
                    yield from ((label, str(name)) for name in names)


def _parsed(line: str) -> dict[str, Any]:
    """Return what one line of TOML contains; nothing if it is part of a longer value."""
    try:
        return tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return {}
