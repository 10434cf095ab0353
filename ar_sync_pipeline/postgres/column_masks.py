"""Check whether a column can be masked by the catalog's rule: by its type and its constraints.

A masked row must satisfy the constraints of the receiver's table, so both sides use this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from ar_sync_pipeline.catalog.masks import UNITS, Mask, MaskFunction
from ar_sync_pipeline.catalog.model import TableRules
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts, UniqueKey

Conflict = tuple[str, str]
"""A problem and its remedy."""

_LEAST_DIGITS, _LEAST_UNIQUE_DIGITS = 8, 16
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)\Z")
_LENGTH = re.compile(r"(?:character(?: varying)?|bpchar)\((\d+)\)\Z")


class Family(Enum):
    """Types that the same functions can mask."""

    TEXT = re.compile(r"text|character varying(\(\d+\))?|character(\(\d+\))?|bpchar")
    CASELESS = re.compile(r"(.*\.)?citext")
    INTEGER = re.compile(r"smallint|integer|bigint")
    NUMERIC = re.compile(r"numeric(\(\d+,-?\d+\))?")
    FLOAT = re.compile(r"real|double precision")
    TIME = re.compile(r"timestamp(\(\d\))? with(out)? time zone")
    DATE = re.compile(r"date")
    TIME_OF_DAY = re.compile(r"time(\(\d\))? without time zone")
    UUID = re.compile(r"uuid")
    OTHER = re.compile(r".*", re.DOTALL)


# Masks whose values do not depend on a unit or a length.
_ANY_VALUE = {
    '"pseudonym"': Mask.model_validate("pseudonym"),
    '"null"': Mask.model_validate("null"),
    "{ constant = VALUE }": Mask.model_validate({"constant": ""}),
}
_TEXTS = {Family.TEXT, Family.CASELESS}
_NUMBERS = {Family.INTEGER, Family.NUMERIC, Family.FLOAT}
_UNITS = {
    Family.TIME: UNITS,
    Family.DATE: UNITS[UNITS.index("week") :],
    Family.TIME_OF_DAY: UNITS[: UNITS.index("day")],
}


def family_of(type_: str) -> Family:
    """Return the family of a type, by its ``format_type`` text."""
    return next(family for family in Family if family.value.fullmatch(type_))


def type_length(type_: str) -> int | None:
    """Return how many characters a text of this type may have; None: any number."""
    if type_ == "character":
        return 1
    found = _LENGTH.match(type_)
    return int(found[1]) if found else None


def largest_integer(type_: str) -> int | None:
    """Return the largest number without a fraction that fits a type; None: there is none."""
    found = _NUMERIC.match(type_)
    if found:
        return int("9" * (int(found[1]) - int(found[2])) or "0")
    return {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}.get(type_)


def mask_conflicts(rules: TableRules, facts: TableFacts) -> Iterator[Conflict]:
    """Yield what prevents a table from storing its masked rows; missing columns are left out."""
    for name, mask in rules.mask.items():
        column = facts.column(name)
        if column is None:
            continue
        subject = f"column {name} of {facts.name}"
        for problem, remedy in _conflicts(mask, column, facts):
            yield f"{subject} {problem}", remedy


def _conflicts(mask: Mask, column: ColumnFacts, facts: TableFacts) -> Iterator[Conflict]:
    if column.name in {*facts.primary_key, *facts.key}:
        yield (
            "is part of the key, by which rows are told apart, and cannot be masked",
            "take it out of `mask`, or leave the table out of the catalog",
        )
        return
    if column.name in facts.partition_key:
        yield "decides in which partition a row is, and cannot be masked", "take it out of `mask`"
        return
    if column.generated:
        yield (
            "is computed and never sent, so there is nothing to mask",
            "mask the columns that it is computed from, and take it out of `mask`",
        )
        return
    for problem, first in _obstacles(mask, column, facts):
        yield problem, first + other_rules(column, facts)


def other_rules(
    column: ColumnFacts, facts: TableFacts, *, tried: MaskFunction | None = None
) -> str:
    """Return the rules that a column can have, as a remedy for one that it cannot have.

    Args:
        tried: Function of a mask that is not offered, since its value was refused.
    """
    fitting = [
        text
        for text, mask in _ANY_VALUE.items()
        if mask.function is not tried and not any(_obstacles(mask, column, facts))
    ]
    masks = f"give it the mask {' or '.join(fitting)}, or " if fitting else ""
    return masks + exclude_it(column)


def exclude_it(column: ColumnFacts) -> str:
    """Return how to exclude a column, as a remedy."""
    if column.nullable or column.has_default:
        return "name it in `exclude`"
    return "name it in `exclude` once the receiver's column is nullable or has a default"


def _obstacles(mask: Mask, column: ColumnFacts, facts: TableFacts) -> Iterator[tuple[str, str]]:
    """Yield what prevents a mask of a column without a key, and the beginning of the remedy."""
    takes = _takes(mask, column)
    if takes:
        yield f"is a {column.type}, and `mask` {mask.function} takes {takes}", ""
    elif mask.function is MaskFunction.NULL and not column.nullable:
        yield "is NOT NULL, and `mask` makes it NULL", ""
    else:
        uniques = keys_that_may_collide(column, facts)
        yield from (found for u in uniques if (found := _not_unique(mask, column, u)) is not None)
        for computed in facts.columns:
            if column.name in computed.computed_from:
                yield from _not_unique_when_computed(mask, column, computed, facts)


def _takes(mask: Mask, column: ColumnFacts) -> str:
    """Return the types that a function masks; empty if the column's type is one of them."""
    family, argument = family_of(column.type), mask.argument
    texts, length = family in _TEXTS, type_length(column.type)
    most = _LEAST_DIGITS if length is None else length
    characters = isinstance(argument, int)
    hashable = family is Family.UUID or column.type == "bigint"
    fits, takes = {
        MaskFunction.NULL: (True, ""),
        MaskFunction.CONSTANT: (
            not texts or length is None or len(str(argument)) <= length,
            f"a text of at most {length} characters",
        ),
        MaskFunction.PSEUDONYM: (
            hashable or (texts and most >= _LEAST_DIGITS),
            f"a text of at least {_LEAST_DIGITS} characters, a uuid or a bigint",
        ),
        MaskFunction.TRUNCATE: (
            texts if characters else argument in _UNITS.get(family, ()),
            f"a text of {argument} characters" if characters else f"a time in {argument}s",
        ),
        MaskFunction.ROUND: (family in _NUMBERS, "a number"),
    }[mask.function]
    return "" if fits else takes


def _not_unique(mask: Mask, column: ColumnFacts, unique: UniqueKey) -> tuple[str, str] | None:
    decides = f"decides which rows are unique ({unique.name}), and cannot be masked"
    if mask.function is not MaskFunction.PSEUDONYM:
        if mask.function is MaskFunction.NULL and null_is_distinct(column, unique):
            return None
        kept = f"is unique ({unique.name}), which `mask` {mask.function} does not keep"
        return decides if only_decides(column, unique) else kept, ""
    length = type_length(column.type)
    if length is not None and length < _LEAST_UNIQUE_DIGITS:
        problem = f"two of its pseudonyms of {length} characters could be equal"
        return f"is unique ({unique.name}), and {problem}", "widen it at both sides, or "
    if unique.exclusion or not all(_survives(e, column.name) for e in unique.elements):
        return f"is unique by an expression ({unique.name}), which a pseudonym does not keep", ""
    if not _survives(unique.predicate or "", column.name, predicate=True):
        return decides, ""
    return None


def _not_unique_when_computed(
    mask: Mask, column: ColumnFacts, computed: ColumnFacts, facts: TableFacts
) -> Iterator[tuple[str, str]]:
    """Yield unique keys over a computed column that masked values of another one may violate."""
    keeps = mask.function in (MaskFunction.PSEUDONYM, MaskFunction.NULL)
    if keeps and _survives(computed.expression, column.name):
        return
    for unique in keys_that_may_collide(computed, facts):
        problem = f"computes {computed.name}, which is unique ({unique.name})"
        yield f"{problem}, and `mask` {mask.function} does not keep that", ""


def keys_that_may_collide(column: ColumnFacts, facts: TableFacts) -> list[UniqueKey]:
    """Return the unique keys that other values of a column may violate.

    One that contains the key by which rows are identified holds whatever the column has.
    """
    keys = [
        set(_parts(key))
        for key in facts.unique_keys
        if key.identifies and set(key.plain) in (set(facts.primary_key), set(facts.key))
        if column.name not in key.plain
    ]
    return [
        unique
        for unique in facts.unique_keys
        if column.name in unique.uses and not any(key <= set(_parts(unique)) for key in keys)
    ]


def _parts(unique: UniqueKey) -> Iterator[tuple[str, ...]]:
    """Yield each element with all that decides which of its values are equal."""
    none = ("",) * len(unique.elements)
    collations, collates = unique.collations or none, unique.collates or none
    yield from zip(unique.elements, unique.operators, collations, collates, strict=True)


def only_decides(column: ColumnFacts, unique: UniqueKey) -> bool:
    """Return whether a column is in the predicate of a unique index alone."""
    in_elements = any(_mentions(element, column.name) for element in unique.elements)
    return unique.whole_row is None and not in_elements


def null_is_distinct(column: ColumnFacts, unique: UniqueKey) -> bool:
    """Return whether NULL in a column cannot make two rows equal for a unique key."""
    without = rf"\(+({_spellings(column.name)}) IS NOT NULL\)+"
    if column.name not in unique.uses or re.fullmatch(without, unique.predicate or ""):
        return True
    return unique.nulls_distinct and any(
        _mentions(element, column.name) and _survives(element, column.name)
        for element in unique.elements
    )


def _survives(expression: str, column: str, *, predicate: bool = False) -> bool:
    """Return whether an expression of an index works for pseudonyms too: digits have no case."""
    value = rf"\(*({_spellings(column)})\)*(::text)?\)*"
    if predicate:
        harmless = rf"\({value} (IS NOT NULL|<> ''(::text|::character varying|::bpchar)?)\)"
        return not _mentions(re.sub(harmless, "", expression), column)
    whole = re.fullmatch(rf"((lower|upper)\()?{value}", expression)
    return whole is not None or not _mentions(expression, column)


def _mentions(expression: str, column: str) -> bool:
    return re.search(rf"(?<![\w\"])({_spellings(column)})(?![\w\"])", expression) is not None


def _spellings(column: str) -> str:
    return "|".join(re.escape(n) for n in (column, '"' + column.replace('"', '""') + '"'))
