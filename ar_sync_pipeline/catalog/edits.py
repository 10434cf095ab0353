"""Edits of a catalog file, described for the person who makes them: every place is named."""

from __future__ import annotations

from collections.abc import Iterator

from ar_sync_pipeline.catalog.labels import is_literal
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.catalog.validation import place, quoted_value


def leave_out(catalog: Catalog, label: str) -> str:
    """Return the edits after which a catalog does not replicate a table."""
    name = quoted_value(label)
    by_pattern = any(
        catalog.matches_any((pattern,), label)
        for pattern in catalog.tables
        if not is_literal(pattern)
    )
    parents = [parent for parent, rules in catalog.table.items() if label in rules.children]
    edits = [
        *([f"remove {name} from `tables`"] if label in catalog.tables else []),
        *([f"add {name} to `exclude`"] if by_pattern else []),
        *([f"remove the section {place('table', label)}"] if label in catalog.table else []),
        *(f"remove {name} from {place('table', parent, 'children')}" for parent in parents),
    ]
    return " and ".join(edits)


def replicate(catalog: Catalog, label: str) -> str:
    """Return the edits after which a catalog replicates a table."""
    name, named = quoted_value(label), catalog.matches_any(catalog.tables, label)
    edits = [
        *_unmatch("exclude", catalog.exclude, catalog, label),
        *_unmatch("receiver_tables", catalog.receiver_tables, catalog, label),
        *([] if named else [f"add {name} to `tables` of the catalog"]),
    ]
    return " and ".join(edits)


def _unmatch(
    setting: str, patterns: tuple[str, ...], catalog: Catalog, label: str
) -> Iterator[str]:
    """Yield the edits after which no pattern of a list matches a table."""
    if label in patterns:
        yield f"remove {quoted_value(label)} from `{setting}`"
    if catalog.matches_any(tuple(one for one in patterns if one != label), label):
        yield f"let no pattern of `{setting}` match {quoted_value(label)}"
