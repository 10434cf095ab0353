"""Column rules that a draft proposes for columns that look personal.

Columns that the receiver does not need are excluded; columns that need a value are masked. Columns
that a foreign key joins get the same pseudonyms, or no rule.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ar_sync_pipeline.catalog.masks import Mask
from ar_sync_pipeline.catalog.model import TableRules
from ar_sync_pipeline.postgres.checks.receiver_columns import excluded_findings
from ar_sync_pipeline.postgres.column_masks import Family, family_of, mask_conflicts
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts
from ar_sync_pipeline.sync.setup.personal_columns import Kind, personal_columns

_PSEUDONYM: Any = "pseudonym"
_YEAR: Any = {"truncate": "year"}
_EMPTY: Any = {"constant": ""}
_ZERO: Any = {"constant": 0}
_BY_FAMILY: dict[Family, tuple[Any, ...]] = {
    Family.TEXT: (_PSEUDONYM, _EMPTY),
    Family.CASELESS: (_PSEUDONYM, _EMPTY),
    Family.UUID: (_PSEUDONYM,),
    Family.INTEGER: (_PSEUDONYM, _ZERO),
    Family.NUMERIC: (_ZERO,),
    Family.FLOAT: (_ZERO,),
    Family.TIME: (_YEAR,),
    Family.DATE: (_YEAR,),
}
# Values of other types that contain nothing.
_CONSTANTS: tuple[tuple[re.Pattern[str], Any], ...] = (
    (re.compile(r".*\[\]|jsonb?"), {"constant": "{}"}),
    (re.compile(r"(.*\.)?hstore|tsvector|bytea"), _EMPTY),
    (re.compile(r"inet"), {"constant": "0.0.0.0"}),  # noqa: S104  an address, not an interface
    (re.compile(r"cidr"), {"constant": "0.0.0.0/0"}),
    (re.compile(r"macaddr"), {"constant": "00:00:00:00:00:00"}),
    (re.compile(r"macaddr8"), {"constant": "00:00:00:00:00:00:00:00"}),
    (re.compile(r"point"), {"constant": "(0,0)"}),
)

_LEAVE_OUT = (
    "To keep it back, leave the table out: remove its name from `tables`, and this section."
)
_RELAX = (
    "To keep it back, make the receiver's column nullable or give it a default, and name it in"
    " `exclude`."
)

Place = tuple[str, str]
"""Label of a table and name of a column."""


@dataclass(frozen=True)
class PersonalRules:
    """The proposal for one table.

    Attributes:
        exclude: Columns that need not be sent.
        mask: By column, the mask of the sent value.
        kept: By column for which no rule can be proposed, the reason and what can be done.
        joined: By masked column, the columns that need the same mask.
        kinds: Kind of each of them, by column.
    """

    exclude: list[str] = field(default_factory=list)
    mask: dict[str, object] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    joined: dict[str, list[Place]] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)


class JoinedColumns:
    """Columns of tables that foreign keys join, directly or by others.

    Args:
        tables: All replicated tables, by label.
    """

    def __init__(self, tables: Mapping[str, TableFacts]) -> None:
        self._tables = tables
        neighbours = _neighbours(tables)
        self._groups: dict[Place, list[Place]] = {}
        for place in neighbours:
            if place not in self._groups:
                group = sorted(_reached(place, neighbours))
                self._groups |= dict.fromkeys(group, group)

    def joined(self, place: Place) -> list[Place]:
        """Return all columns that are joined with one, and itself; empty if there are none."""
        return self._groups.get(place, [])

    def take_pseudonyms(self, places: list[Place]) -> bool:
        """Return whether equal values of several columns can become equal pseudonyms."""
        columns = [
            (self._tables[label], self._tables[label].column(name)) for label, name in places
        ]
        return len({column.type for _, column in columns if column}) == 1 and all(
            column is not None
            and column.name not in table.fixed
            and _suits([table], column, _PSEUDONYM)
            for table, column in columns
        )


def personal_by_table(
    tables: Mapping[str, TableFacts], joins: JoinedColumns
) -> dict[str, dict[str, Kind]]:
    """Return the personal columns of all tables; one of several joined columns makes all so."""
    found = personal_columns(tables)
    for label, kinds in [(label, dict(kinds)) for label, kinds in found.items()]:
        for name, kind in kinds.items():
            for other, joined in joins.joined((label, name)):
                found[other].setdefault(joined, kind)
    return found


def propose_rules(
    table: TableFacts,
    there: TableFacts | None,
    joins: JoinedColumns,
    personal: Mapping[str, Kind],
    withheld: Collection[str],
    media: Collection[str],
    needed: Collection[str | None],
) -> PersonalRules:
    """Propose a rule for each personal column.

    Args:
        table: The sender's table.
        there: The receiver's table; None: unknown, and assumed to be like the sender's.
        joins: Joined columns of all replicated tables, which need equal values on both sides.
        personal: The table's personal columns.
        withheld: Columns that are not sent anyway.
        media: Columns that name media files, which cannot be masked.
        needed: Columns that cannot be excluded.
    """
    kinds = {name: kind for name, kind in personal.items() if name not in withheld}
    rules = PersonalRules(kinds=kinds)
    both = [table, *([there] if there is not None else [])]
    for name, kind in kinds.items():
        column = (there or table).column(name) or table.column(name)
        joined = joins.joined((table.name, name))
        if column is None or name in table.fixed:
            rules.kept[name] = f"is part of a key, which can have no rule. {_LEAVE_OUT}"
        elif joined and joins.take_pseudonyms(joined):
            rules.mask[name] = _PSEUDONYM
            rules.joined[name] = [place for place in joined if place != (table.name, name)]
        elif joined:
            null = ' Its own mask can be "null".' if column.nullable else ""
            rules.kept[name] = (
                "is joined by a foreign key with a column that can have no rule."
                f"{null} {_LEAVE_OUT}"
            )
        elif (column.nullable or column.has_default) and name not in needed:
            rules.exclude.append(name)
        elif name in media:
            rules.kept[name] = f"names media files, which have no mask. {_RELAX}"
        elif (mask := _mask(both, column, kind)) is not None:
            rules.mask[name] = mask
        else:
            rules.kept[name] = f"needs a value of the type {column.type}. {_RELAX}"
    return rules


def needed_columns(connection: Connection, table: TableFacts) -> set[str]:
    """Return the columns without whose values a table of this database would refuse rows."""
    return {
        column.name for column in table.columns if any(excluded_findings(connection, table, column))
    }


def _neighbours(tables: Mapping[str, TableFacts]) -> dict[Place, set[Place]]:
    """Return the columns that a foreign key joins with another one, each with its others."""
    found: defaultdict[Place, set[Place]] = defaultdict(set)
    for label, table in tables.items():
        for key in table.foreign_keys:
            if key.referenced_table not in tables:
                continue
            for name, referenced in zip(key.columns, key.referenced_columns, strict=True):
                here, there = (label, name), (key.referenced_table, referenced)
                if here != there:
                    found[here].add(there)
                    found[there].add(here)
    return found


def _reached(place: Place, neighbours: Mapping[Place, set[Place]]) -> set[Place]:
    found, pending = {place}, [place]
    while pending:
        new = neighbours[pending.pop()] - found
        found |= new
        pending += new
    return found


def _mask(tables: list[TableFacts], column: ColumnFacts, kind: Kind) -> object:
    """Return a mask that the tables' constraints allow; None if there is none."""
    family = family_of(column.type)
    wanted = _BY_FAMILY.get(family, ())
    if kind in {Kind.SECRET, Kind.PICTURE, Kind.FREE_TEXT}:
        # Nothing is compared with them, and a pseudonym of a picture names no file; a key of its
        # own may still need different values.
        wanted = tuple(reversed(wanted))
    if kind is Kind.POSITION and family in {Family.NUMERIC, Family.FLOAT}:
        wanted = ({"round": 2},)
    if family is Family.OTHER:
        wanted = tuple(mask for pattern, mask in _CONSTANTS if pattern.fullmatch(column.type))
    return next((mask for mask in wanted if _suits(tables, column, mask)), None)


def _suits(tables: list[TableFacts], column: ColumnFacts, mask: object) -> bool:
    rules = TableRules(mask={column.name: Mask.model_validate(mask)})
    return not any(conflict for table in tables for conflict in mask_conflicts(rules, table))
