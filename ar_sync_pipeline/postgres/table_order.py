"""Order in which tables are written: parents before the rows that refer to them."""

from __future__ import annotations

from collections.abc import Mapping

from ar_sync_pipeline.postgres.table_facts import TableFacts


def parents_first(tables: Mapping[str, TableFacts]) -> list[str]:
    """Return table names, each after the tables that it refers to; a cycle ends at the later name.

    If constraints are deferrable, it does not matter where a cycle ends.
    """
    ordered: list[str] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        for parent in sorted({key.referenced_table for key in tables[name].foreign_keys}):
            if parent in tables:
                visit(parent)
        ordered.append(name)

    for name in sorted(tables):
        visit(name)
    return ordered
