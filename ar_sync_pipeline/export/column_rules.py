"""Column rules of the catalog that cannot be applied at the sender.

A rule without effect is refused as well: its column may have been renamed, and would then be
exported unmasked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ar_sync_pipeline.catalog.edits import leave_out
from ar_sync_pipeline.catalog.masks import Mask, MaskFunction
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.checks.rights import usage_grant
from ar_sync_pipeline.postgres.column_masks import exclude_it, mask_conflicts, other_rules
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError, SchemaError
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, ForeignKey, TableFacts
from ar_sync_pipeline.postgres.typed_values import fits


def column_rule_problems(
    catalog: Catalog, tables: Mapping[str, TableFacts]
) -> Iterator[SchemaError]:
    """Yield everything that is wrong with `exclude` and `mask`, by the tables' facts."""
    for label, rules in catalog.table.items():
        if label not in tables and catalog.replicates(label) and rules.column_rules:
            yield SchemaError(
                f"the catalog has `exclude` or `mask` for table {label}, which is not in the"
                " database",
                remedy="correct the name of the section; if the table is gone, remove the section",
            )
    for facts in tables.values():
        rules = catalog.rules(facts.name)
        yield from _unknown_columns(rules, facts)
        yield from _excluded(catalog, facts)
        for problem, remedy in mask_conflicts(rules, facts):
            yield SchemaError(problem, remedy=remedy)
        for key in facts.foreign_keys:
            yield from _one_side_only(catalog, key, tables)


def masked_type_problems(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> Iterator[ArSyncError]:
    """Yield masked columns whose type cannot be named, and values that it refuses."""
    for facts in tables.values():
        for name, mask in catalog.rules(facts.name).mask.items():
            column = facts.column(name)
            if column is None:
                continue
            schema = column.type_schema
            grant = usage_grant(connection, schema) if schema else None
            if grant is not None:
                yield DatabaseRefusedError(
                    f"the sender's role may not use schema {schema} of {column.type}, the type of"
                    f" {name} in {facts.name}, which `mask` makes values of",
                    remedy=grant.as_string(connection),
                )
            elif mask.function in {MaskFunction.CONSTANT, MaskFunction.NULL}:
                yield from _refused_value(connection, facts, column, mask)


def _refused_value(
    connection: Connection, facts: TableFacts, column: ColumnFacts, mask: Mask
) -> Iterator[SchemaError]:
    text = None if mask.function is MaskFunction.NULL else mask.constant_text
    if not fits(connection, column, text):
        others = other_rules(column, facts, tried=mask.function)
        yield SchemaError(
            f"`mask` of table {facts.name} gives {column.name}, a {column.type}, the value"
            f" {'NULL' if text is None else repr(text)}, which is none of this type",
            remedy=f"correct the value in the catalog, or {others}",
        )


def _unknown_columns(rules: TableRules, facts: TableFacts) -> Iterator[SchemaError]:
    for name in rules.column_rules:
        if facts.column(name) is None:
            key = "mask" if name in rules.mask else "exclude"
            yield SchemaError(
                f"`{key}` of table {facts.name} names {name}, which is no column of it",
                remedy="correct the name in the catalog (names compare case-sensitively); if the"
                " column is gone, remove it",
            )


def _excluded(catalog: Catalog, facts: TableFacts) -> Iterator[SchemaError]:
    for name in catalog.rules(facts.name).exclude:
        if name in {*facts.primary_key, *facts.key}:
            yield SchemaError(
                f"column {name} of {facts.name} is part of the key, by which rows are told apart,"
                " and cannot be excluded",
                remedy="take it out of the table's `exclude`, or leave the whole table out:"
                f" {leave_out(catalog, facts.name)}",
            )
        elif name in facts.partition_key:
            yield SchemaError(
                f"column {name} of {facts.name} decides in which partition a row is, and cannot be"
                " excluded",
                remedy="take it out of the table's `exclude`",
            )


def _one_side_only(
    catalog: Catalog, key: ForeignKey, tables: Mapping[str, TableFacts]
) -> Iterator[SchemaError]:
    """Yield references whose two columns would no longer have the same values."""
    child, facts = catalog.rules(key.table), tables[key.table]
    referenced = tables.get(key.referenced_table)
    if _refers_to_nothing(child, key):
        return
    for here, there in zip(key.columns, key.referenced_columns, strict=True):
        column = facts.column(here)
        if referenced is None:
            if column is not None and here in child.mask and not child.emptied(here):
                null = 'give it the mask "null", or ' if column.nullable else ""
                yield SchemaError(
                    f"column {here} of {key.table} refers to {key.referenced_table}, which is not"
                    " replicated, and its masked values would refer to no row",
                    remedy=null + exclude_it(column),
                )
            continue
        parent = catalog.rules(key.referenced_table)
        types = {str(c.type) for c in (column, referenced.column(there)) if c}
        if _rule(child, here) != _rule(parent, there) or (here in child.mask and len(types) > 1):
            yield SchemaError(
                f"column {here} of {key.table} refers to {there} of {key.referenced_table}, and"
                " `exclude` or `mask` does not treat both alike",
                remedy=_alike(facts, here, referenced, there),
            )
        elif _equal_and_not_the_same(child, here, referenced, there):
            yield SchemaError(
                f"column {here} of {key.table} refers to {there} of {key.referenced_table} by a"
                " collation in which different texts are equal, and their pseudonyms would not be",
                remedy=_other_than_pseudonym(column),
            )


def _equal_and_not_the_same(
    child: TableRules, here: str, referenced: TableFacts, there: str
) -> bool:
    """Return whether a pseudonym would part a reference whose two texts differ in their letters."""
    return (
        here in child.mask
        and child.mask[here].function is MaskFunction.PSEUDONYM
        and any(
            there == name and collation
            for unique in referenced.unique_keys
            for name, collation in zip(unique.plain, unique.collations, strict=False)
        )
    )


def _other_than_pseudonym(column: ColumnFacts | None) -> str:
    null = f'give {column.name} the mask "null", or ' if column and column.nullable else ""
    return f"{null}give neither a rule"


def _refers_to_nothing(rules: TableRules, key: ForeignKey) -> bool:
    """Return whether a mask sets the reference to NULL, which PostgreSQL does not check."""
    nulls = [
        name in rules.mask and rules.mask[name].function is MaskFunction.NULL
        for name in key.columns
    ]
    return all(nulls) if key.match_full else any(nulls)


def _alike(facts: TableFacts, here: str, referenced: TableFacts, there: str) -> str:
    """Return the rules that two columns of a reference can have, as a remedy."""
    column = facts.column(here)
    free = here not in facts.fixed
    both = free and there not in referenced.fixed
    ways = [
        *(["give both the same rule and the same type"] if both else []),
        *([f'give {here} the mask "null"'] if free and column and column.nullable else []),
        "give neither a rule",
    ]
    return ", or ".join(ways)


def _rule(rules: TableRules, column: str) -> object:
    return "exclude" if column in rules.exclude else rules.mask.get(column)
