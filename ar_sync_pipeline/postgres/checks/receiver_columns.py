"""Check whether the receiver's columns that the catalog names exist and can be used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.checks.left_values import values_left
from ar_sync_pipeline.postgres.checks.rights import usage_grant
from ar_sync_pipeline.postgres.checks.ruled_constraints import ruled_constraint_findings
from ar_sync_pipeline.postgres.column_masks import (
    keys_that_may_collide,
    mask_conflicts,
    null_is_distinct,
    only_decides,
)
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.gate import no_key_of_transformed
from ar_sync_pipeline.postgres.ledger_tables import nothing_applied
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts, UniqueKey
from ar_sync_pipeline.postgres.typed_values import fits

_COLUMN_LISTS = (
    "media_columns",
    "receiver_columns",
    "mask",
    "reset_on_change",
    "clear_on_change",
    "rewritten_by_transform",
)
# Functions of an expression, by name alone.
_CALLED = re.compile(r'([\w$]+|"[^"]+")\(')
_ANY_VOLATILE = (
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_proc WHERE provolatile = 'v' AND proname = ANY(%s))"
)


def column_findings(
    connection: Connection, catalog: Catalog, table: TableFacts
) -> Iterator[Finding]:
    """Yield findings on columns of the catalog that the receiver lacks or cannot use."""
    rules = catalog.rules(table.name)
    yield from _missing_columns(rules, table)
    for name in rules.clear_on_change:
        column = table.column(name)
        if column is not None and not column.nullable:
            yield Finding(
                Level.ERROR,
                f"`clear_on_change` of table {table.name} names {name}, which is NOT NULL",
                "name the column in `reset_on_change` with a value, or drop NOT NULL at the"
                " receiver",
            )
    transformed = [name for name in rules.rewritten_by_transform if table.column(name) is not None]
    if transformed and (problem := no_key_of_transformed(transformed, table.key)):
        yield Finding(
            Level.ERROR,
            f"table {table.name} {problem}, so archives are parked",
            "give the table the same primary key of other columns at both sides, or remove the"
            " names from `rewritten_by_transform`",
        )
    yield from _reset_values(connection, catalog, table)
    was_loaded = bool(rules.exclude) and not nothing_applied(connection)
    for name in rules.exclude:
        column = table.column(name)
        if column is not None and not column.generated:
            yield from excluded_findings(connection, table, column)
            if was_loaded:
                yield from values_left(connection, table, column)
    for problem, remedy in mask_conflicts(rules, table):
        yield Finding(Level.ERROR, f"{problem}, so archives are parked", remedy)
    yield from ruled_constraint_findings(connection, rules, table, receives=True)


def excluded_findings(
    connection: Connection, table: TableFacts, column: ColumnFacts
) -> Iterator[Finding]:
    """Yield what prevents new rows from being written without a value of an excluded column."""
    subject = f"column {column.name} of table {table.name}"
    uniques = keys_that_may_collide(column, table)
    if column.nullable and not column.has_default:
        # All types of PostgreSQL itself take NULL.
        if column.type_schema is not None and not _may_be(connection, column, None):
            yield Finding(
                Level.ERROR,
                f"{subject} is in `exclude`, and its type {column.type} takes no NULL, so archives"
                " are parked",
                "give it a default at the receiver",
            )
        yield from _equal_without(column, subject, uniques)
        return
    if not column.has_default:
        statement = sql.SQL("ALTER TABLE {} ALTER {} DROP NOT NULL").format(
            table.relation, sql.Identifier(column.name)
        )
        text = statement.as_string(connection)
        yield Finding(
            Level.ERROR,
            f"{subject} is in `exclude` and NOT NULL without a default, so archives are parked",
            f"{text}, or give it a default at the receiver",
            sql=f"{text};",
        )
    if column.has_default:
        deciding = [u for u in uniques if only_decides(column, u)]
        yield from _equal_without(column, subject, deciding)
        uniques = [u for u in uniques if u not in deciding]
    unique = next(iter(uniques), None)
    if column.has_default and unique is not None and not _default_differs(connection, column):
        yield Finding(
            Level.WARNING,
            f"{subject} is in `exclude` and unique ({unique.name}), and new rows get its default",
            "give it a default that differs from row to row there, or make it nullable without a"
            " default",
        )


def _equal_without(
    column: ColumnFacts, subject: str, uniques: Iterable[UniqueKey]
) -> Iterator[Finding]:
    unique = next((u for u in uniques if not null_is_distinct(column, u)), None)
    if unique is not None:
        yield Finding(
            Level.WARNING,
            f"{subject} is in `exclude`, and rows without its value may be equal for the unique"
            f" key {unique.name}, so that archives are parked",
            f"drop {unique.name} at the receiver, or make a key there that does not use"
            f" {column.name}",
        )


def _default_differs(connection: Connection, column: ColumnFacts) -> bool:
    """Return whether a default has another value in each row: it calls a volatile function."""
    if column.sequence is not None:
        return True
    called = [name.strip('"') for name in _CALLED.findall(column.expression)]
    return bool(scalar(connection, _ANY_VOLATILE, [called]))


def _missing_columns(rules: TableRules, table: TableFacts) -> Iterator[Finding]:
    """Yield one finding for each missing column, with all keys of the catalog that name it."""
    named: dict[str, list[str]] = {}
    for key in _COLUMN_LISTS:
        for name in getattr(rules, key):
            if name in rules.exclude:
                continue  # it may be missing here
            named.setdefault(name, []).append(f"`{key}`")
    if rules.changed_at:
        named.setdefault(rules.changed_at, []).append("`changed_at`")
    for name, keys in named.items():
        if table.column(name) is None:
            verb = "names" if len(keys) == 1 else "name"
            yield Finding(
                Level.WARNING,
                f"{' and '.join(keys)} of table {table.name} "
                f"{verb} {name}, which is no column of it at the receiver",
                "correct the name in the catalog, add the column by a migration, or remove the"
                " name",
            )


def _reset_values(connection: Connection, catalog: Catalog, table: TableFacts) -> Iterator[Finding]:
    for name, value in catalog.rules(table.name).reset_on_change.items():
        column = table.column(name)
        if column is not None and not _may_be(connection, column, value):
            yield Finding(
                Level.ERROR,
                f"`reset_on_change` of table {table.name} gives {name} the value {value!r}, which"
                f" is no {column.type}",
                "correct the value in the catalog",
            )


def _may_be(connection: Connection, column: ColumnFacts, value: object) -> bool:
    """Return whether a column's type takes a value; True if this role may not try."""
    schema = column.type_schema
    if schema is not None and usage_grant(connection, schema) is not None:
        return True  # a load does not name the type, and may use it
    return fits(connection, column, value, by_application=True)
