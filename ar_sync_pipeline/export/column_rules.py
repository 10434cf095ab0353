"""Column rules of the catalog that cannot be applied at the sender.

A rule without effect is refused as well: its column may have been renamed, and would then be
exported unmasked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import psycopg
from psycopg import sql

from ar_sync_pipeline.catalog.masks import MaskFunction
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.postgres.column_masks import mask_conflicts
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.postgres.table_facts import ForeignKey, TableFacts


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
        yield from _excluded(rules, facts)
        for problem, remedy in mask_conflicts(rules, facts):
            yield SchemaError(problem, remedy=remedy)
        for key in facts.foreign_keys:
            yield from _one_side_only(catalog, key, tables)


def constant_problems(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> Iterator[SchemaError]:
    """Yield constants and NULL that PostgreSQL refuses for a column's type."""
    for facts in tables.values():
        for name, mask in catalog.rules(facts.name).mask.items():
            column = facts.column(name)
            if column is None or mask.function not in {MaskFunction.CONSTANT, MaskFunction.NULL}:
                continue
            text = None if mask.function is MaskFunction.NULL else mask.constant_text
            try:
                connection.execute(
                    sql.SQL("SELECT {}::{}").format(sql.Literal(text), sql.SQL(column.type))
                )
            except psycopg.errors.InsufficientPrivilege:
                continue  # reported as a missing right on a schema
            except (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.CannotCoerce):
                yield SchemaError(
                    f"`mask` of table {facts.name} gives {name}, a {column.type}, the value"
                    f" {'NULL' if text is None else repr(text)}, which is none of this type",
                    remedy="correct the value in the catalog, or name the column in `exclude`",
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


def _excluded(rules: TableRules, facts: TableFacts) -> Iterator[SchemaError]:
    for name in rules.exclude:
        if name in {*facts.primary_key, *facts.key}:
            yield SchemaError(
                f"column {name} of {facts.name} is part of the key, by which rows are told apart,"
                " and cannot be excluded",
                remedy="take it out of the table's `exclude`, or name the whole table in `exclude`"
                " of the catalog",
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
    child, referenced = catalog.rules(key.table), tables.get(key.referenced_table)
    for here, there in zip(key.columns, key.referenced_columns, strict=True):
        if referenced is None:
            if here in child.mask and not child.emptied(here):
                yield SchemaError(
                    f"column {here} of {key.table} refers to {key.referenced_table}, which is not"
                    " replicated, and its masked values would refer to no row",
                    remedy='give it the mask "null", or name it in `exclude`',
                )
            continue
        parent = catalog.rules(key.referenced_table)
        facts = tables[key.table]
        types = {str(c.type) for c in (facts.column(here), referenced.column(there)) if c}
        if _rule(child, here) != _rule(parent, there) or (here in child.mask and len(types) > 1):
            yield SchemaError(
                f"column {here} of {key.table} refers to {there} of {key.referenced_table}, and"
                " `exclude` or `mask` does not treat both alike",
                remedy="give both the same rule and the same type, or neither",
            )


def _rule(rules: TableRules, column: str) -> object:
    return "exclude" if column in rules.exclude else rules.mask.get(column)
