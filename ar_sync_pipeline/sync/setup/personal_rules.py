"""Column rules that a draft proposes for columns that look personal.

Columns that the receiver does not need are excluded; columns that need a value are masked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ar_sync_pipeline.catalog.masks import Mask
from ar_sync_pipeline.catalog.model import TableRules
from ar_sync_pipeline.postgres.column_masks import Family, family_of, mask_conflicts
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts
from ar_sync_pipeline.sync.setup.personal_columns import Kind, personal_columns

_PSEUDONYM: Any = "pseudonym"
_BY_FAMILY: dict[Family, Any] = {
    Family.TEXT: _PSEUDONYM,
    Family.CASELESS: _PSEUDONYM,
    Family.UUID: _PSEUDONYM,
    Family.INTEGER: _PSEUDONYM,
    Family.NUMERIC: {"round": 2},
    Family.FLOAT: {"round": 2},
    Family.TIME: {"truncate": "year"},
    Family.DATE: {"truncate": "year"},
}
_EMPTY: Any = {"constant": ""}


@dataclass(frozen=True)
class PersonalRules:
    """The proposal for one table.

    Attributes:
        exclude: Columns that need not be sent.
        mask: By column, the mask of the sent value.
        kept: Columns for which no rule can be proposed.
        kinds: Kinds of all of them.
    """

    exclude: list[str] = field(default_factory=list)
    mask: dict[str, object] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    kinds: tuple[Kind, ...] = ()


def propose_rules(
    table: TableFacts,
    there: TableFacts | None,
    tables: Mapping[str, TableFacts],
    withheld: tuple[str, ...],
) -> PersonalRules:
    """Propose a rule for each personal column.

    Args:
        table: The sender's table.
        there: The receiver's table; None: unknown, and assumed to be like the sender's.
        tables: All replicated tables, whose references need equal values on both sides.
        withheld: Columns that are not sent anyway.
    """
    referred = {
        column
        for other in tables.values()
        for key in other.foreign_keys
        if key.referenced_table == table.name
        for column in key.referenced_columns
    }
    personal = {
        name: kind for name, kind in personal_columns(table).items() if name not in withheld
    }
    rules = PersonalRules(kinds=tuple(dict.fromkeys(personal.values())))
    for name, kind in personal.items():
        column = (there or table).column(name) or table.column(name)
        fixed = name in {*table.key, *table.primary_key, *table.partition_key, *referred}
        if column is None or column.generated or fixed:
            rules.kept.append(name)
        elif column.nullable or column.has_default:
            rules.exclude.append(name)
        elif (mask := _mask(table, column, kind)) is not None:
            rules.mask[name] = mask
        else:
            rules.kept.append(name)
    return rules


def _mask(table: TableFacts, column: ColumnFacts, kind: Kind) -> object:
    """Return a mask that the table's constraints allow; None if there is none."""
    family = family_of(column.type)
    wanted = [_BY_FAMILY.get(family, _EMPTY), _EMPTY]
    if kind is Kind.SECRET:
        wanted.reverse()
    for mask in wanted:
        if mask == _EMPTY and family not in {Family.TEXT, Family.CASELESS}:
            continue
        rules = TableRules(mask={column.name: Mask.model_validate(mask)})
        if not any(mask_conflicts(rules, table)):
            return mask
    return None
