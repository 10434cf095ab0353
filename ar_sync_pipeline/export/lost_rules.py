"""Errors for values that would leave the sender since their rule does not know their new name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ar_sync_pipeline.catalog.edits import leave_out
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.catalog.validation import place, quoted_value
from ar_sync_pipeline.export.possible_copies import possible_copies
from ar_sync_pipeline.export.ruled_values import (
    MovedValues,
    RuledBefore,
    RuledNow,
    moved_values,
)
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.visible_text import names_in_words


@dataclass(frozen=True)
class LostRule:
    """Tables to which values under a rule have come, and the error of a dump."""

    tables: tuple[str, ...]
    error: SchemaError


def lost_rules(
    connection: Connection,
    catalog: Catalog,
    tables: Mapping[str, TableFacts],
    before: RuledBefore,
) -> Iterator[LostRule]:
    """Yield values that were under a rule, and that a dump would send by another name."""
    if before.values is not None:
        now = RuledNow.read(connection, catalog, before.values)
        moved = moved_values(now, catalog, tables, before)
    else:
        moved = ()
    copies = possible_copies(
        connection, catalog, tables, before.tables | {one.table for one in moved}
    )
    for group in _together(moved):
        yield _moved(catalog, group) if group[0].columns else _excluded(catalog, group)
    for group in _together(copies):
        yield _copied(catalog, group)


def _together(found: Iterable[MovedValues]) -> Sequence[tuple[MovedValues, ...]]:
    """Return what differs in the new table only as one: partitions may be detached at once."""
    groups: dict[object, list[MovedValues]] = {}
    for one in found:
        groups.setdefault((one.label, one.columns, one.names, one.is_ruled), []).append(one)
    return [tuple(group) for group in groups.values()]


def _excluded(catalog: Catalog, group: Sequence[MovedValues]) -> LostRule:
    tables = tuple(one.table for one in group)
    return LostRule(
        tables,
        SchemaError(
            f"`exclude` of the catalog kept back table {group[0].label}, and its rows are now in"
            f" {_tables(tables)}, which only a pattern of `tables` matches",
            remedy=f"{_left_out(catalog, tables)}, or, if they may be sent, add"
            f" {_listed(tables)} to `tables`; for names to come, add a narrower pattern there that"
            f" does not match {quoted_value(group[0].label)}",
        ),
    )


def _moved(catalog: Catalog, group: Sequence[MovedValues]) -> LostRule:
    tables, first = tuple(one.table for one in group), group[0]
    columns = names_in_words(column.in_words for column in first.columns)
    them = "under another rule" if first.is_ruled else "without a rule"
    rules = "the rules that they had" if first.is_ruled else "a rule"
    return LostRule(
        tables,
        SchemaError(
            f"the catalog had rules for {columns} of table {first.label}, and these values are now"
            f" in {names_in_words(first.names)} of {_tables(tables)}, {them}",
            remedy=_give(rules, catalog, group),
        ),
    )


def _copied(catalog: Catalog, group: Sequence[MovedValues]) -> LostRule:
    tables, first = tuple(one.table for one in group), group[0]
    columns = names_in_words(column.in_words for column in first.columns)
    return LostRule(
        tables,
        SchemaError(
            f"{_tables(tables)} may be a copy of {first.label}, with its columns and its name, and"
            f" would be sent without the rules for {columns}",
            remedy=_give("a rule", catalog, group),
        ),
    )


def _give(rules: str, catalog: Catalog, group: Sequence[MovedValues]) -> str:
    tables, first = tuple(one.table for one in group), group[0]
    return (
        f"give {names_in_words(first.names)} of {_tables(tables)} {rules}"
        f" ({_places(tables)}){_or_leave_out(catalog, first.label, tables)}"
        f"{_or_approve(first.names, tables)}"
    )


def _tables(tables: Sequence[str]) -> str:
    return f"table{'s' if len(tables) > 1 else ''} {names_in_words(tables)}"


def _places(tables: Sequence[str]) -> str:
    return f"`exclude` or `mask` in {names_in_words(place('table', one) for one in tables)}"


def _listed(tables: Sequence[str]) -> str:
    return names_in_words(quoted_value(one) for one in tables)


def _left_out(catalog: Catalog, tables: Sequence[str]) -> str:
    if len(tables) == 1:
        return leave_out(catalog, tables[0])
    return f"add {_listed(tables)}, or a pattern for them, to `exclude`"


def _or_leave_out(catalog: Catalog, label: str, tables: Sequence[str]) -> str:
    if label in tables:
        return ""
    them = "the tables" if len(tables) > 1 else "the table"
    return f", or leave {them} out: {_left_out(catalog, tables)}"


def _or_approve(names: Sequence[str], tables: Sequence[str]) -> str:
    them = names_in_words(quoted_value(name) for name in names)
    sections = names_in_words(place("table", one) for one in tables)
    return f", or, if they may be sent, add {them} to `approved_columns` in {sections}"
