"""Unique keys of a table beside the one that identifies its rows, and the columns that decide."""

from __future__ import annotations

from collections.abc import Iterable

from ar_sync_pipeline.postgres.table_facts import TableFacts, UniqueKey


def further_unique_keys(table: TableFacts) -> tuple[UniqueKey, ...]:
    """Return the unique keys and exclusion constraints that the table's key does not imply."""
    key = set(table.key)
    return tuple(
        unique
        for unique in table.unique_keys
        if unique.exclusion
        or unique.predicate
        or any(unique.collates)
        or not unique.by_equality
        or not (key and key <= set(unique.plain))
    )


def source_columns(table: TableFacts, names: Iterable[str]) -> tuple[str, ...]:
    """Return the columns that decide the values of columns; for generated ones, the sources."""
    found: dict[str, None] = {}
    for name in names:
        column = table.column(name)
        found |= dict.fromkeys(
            column.computed_from if column is not None and column.generated else (name,)
        )
    return tuple(found)
