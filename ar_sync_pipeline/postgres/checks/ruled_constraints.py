"""Constraints that refuse what column rules make of rows, found before a load fails.

They are check constraints, and computed columns that are NOT NULL.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import psycopg
from psycopg import sql

from ar_sync_pipeline.catalog.masks import Mask, MaskFunction
from ar_sync_pipeline.catalog.model import TableRules
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.column_masks import Family, exclude_it, family_of, type_length
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts

# Since version 18 a constraint may be NOT ENFORCED. Column 0 is the whole row, printed by the name
# of the table.
_CHECKS = """
SELECT k.conname, pg_get_expr(k.conbin, k.conrelid),
       ARRAY(SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = k.conrelid AND a.attnum > 0 AND NOT a.attisdropped
                AND k.conkey && ARRAY[0::int2, a.attnum])
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE k.contype = 'c' AND (n.nspname, c.relname) = (%s, %s)
   AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
 ORDER BY k.conname
"""
_SAMPLE = "0123456789abcdef" * 2


def ruled_constraint_findings(
    connection: Connection, rules: TableRules, table: TableFacts, *, receives: bool
) -> Iterator[Finding]:
    """Yield findings on constraints of a table that read a column with a rule.

    Args:
        receives: Whether the table is the receiver's, which has to store the rows. The sender's
            only shows what the receiver's may be like, and is no reason to send nothing.
    """
    if not rules.column_rules:
        return
    for subject, condition, columns in _constraints(connection, table):
        read = _read(table, columns)
        # The receiver computes the others.
        ruled = [c for c in read if c.name in rules.column_rules and not c.generated]
        if not ruled:
            continue
        holds = _holds(connection, table, condition, read, rules)
        made = _made(rules, ruled)
        if holds is False:
            parked = "so" if receives else "so that, where the receiver has it too,"
            yield Finding(
                Level.ERROR if receives else Level.WARNING,
                f"{subject} refuses what {made}, {parked} archives are parked",
                f"{_other_rules(rules, ruled)}, or drop the constraint at the receiver",
            )
        elif holds is None:
            yield Finding(
                Level.NOTE,
                f"{subject} depends on what {made}",
                "make sure that such rows meet it, or drop it at the receiver",
            )


def _constraints(connection: Connection, table: TableFacts) -> Iterator[tuple[str, str, list[str]]]:
    """Yield a name for messages, the condition, and the columns that it reads."""
    for name, condition, columns in connection.execute(_CHECKS, table.place).fetchall():
        yield f"constraint {name} of table {table.name}", condition, columns
    for column in table.columns:
        if column.generated and not column.nullable:
            subject = f"NOT NULL of the computed column {column.name} of table {table.name}"
            condition = f"({column.expression}) IS DISTINCT FROM NULL"
            yield subject, condition, list(column.computed_from)


def _read(table: TableFacts, names: Collection[str]) -> list[ColumnFacts]:
    """Return columns with those that computed ones among them are computed from."""
    computed = [c for c in table.columns if c.generated and c.name in names]
    wanted = {*names, *(name for column in computed for name in column.computed_from)}
    return [column for column in table.columns if column.name in wanted]


def _made(rules: TableRules, ruled: list[ColumnFacts]) -> str:
    keys = sorted({_key(rules, column) for column in ruled})
    verb = "makes" if len(keys) == 1 else "make"
    return f"{' and '.join(keys)} {verb} of {', '.join(column.name for column in ruled)}"


def _key(rules: TableRules, column: ColumnFacts) -> str:
    return "`mask`" if column.name in rules.mask else "`exclude`"


def _other_rules(rules: TableRules, ruled: list[ColumnFacts]) -> str:
    if len(ruled) > 1:
        return "give them other rules"
    if _key(rules, ruled[0]) == "`mask`":
        return f"take another function of `mask`, {exclude_it(ruled[0])}"
    return "take `mask` instead, give the receiver's column a default that meets it"


def _holds(
    connection: Connection,
    table: TableFacts,
    condition: str,
    read: list[ColumnFacts],
    rules: TableRules,
) -> bool | None:
    """Return whether rows meet a condition by their rules; None: it depends on the row."""
    stored = [column for column in read if not column.generated]
    values = {c.name: value for c in stored if (value := _value(rules, c)) is not None}
    rows = _rows(table, read, values)
    try:
        with connection.transaction():
            if len(values) == len(stored):
                query = sql.SQL("SELECT ({}) IS NOT FALSE FROM {}")
                return bool(scalar(connection, query.format(sql.SQL(condition), rows)))
            if _never(connection, sql.SQL("({}) IS NOT FALSE").format(sql.SQL(condition)), rows):
                return False
            if _never(connection, sql.SQL("({}) IS FALSE").format(sql.SQL(condition)), rows):
                return True
    except psycopg.Error:
        pass
    return None


def _never(connection: Connection, condition: sql.Composable, rows: sql.Composable) -> bool:
    """Return whether the planner finds that no row meets a condition, whatever it contains.

    It computes what follows from constants alone, such as NULL of a concatenation with NULL.
    """
    query = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {} WHERE {}").format(rows, condition)
    plan: dict[str, Any] = scalar(connection, query)[0]["Plan"]
    return plan.get("One-Time Filter") == "false"


def _rows(
    table: TableFacts, read: list[ColumnFacts], values: dict[str, sql.Composable]
) -> sql.Composed:
    """Return rows with the values of columns, any others of the rest, and the computed columns."""
    stored = [column for column in read if not column.generated]
    unknown = [column for column in stored if column.name not in values] or None
    made = [
        sql.SQL("{}::{} AS {}").format(
            values.get(column.name, sql.Identifier("x", column.name)),
            sql.SQL(column.type),
            sql.Identifier(column.name),
        )
        for column in stored
    ]
    source = sql.SQL("(SELECT {} FROM {}) AS t").format(
        sql.SQL(", ").join(made), _any_rows(unknown) if unknown else sql.SQL("(SELECT) AS x")
    )
    computed = [
        sql.SQL("({})::{} AS {}").format(
            sql.SQL(column.expression), sql.SQL(column.type), sql.Identifier(column.name)
        )
        for column in read
        if column.generated
    ]
    columns = sql.SQL(", ").join([sql.SQL("t.*"), *computed])
    alias = sql.Identifier(table.place[1])
    return sql.SQL("(SELECT {} FROM {}) AS {}").format(columns, source, alias)


def _any_rows(columns: list[ColumnFacts]) -> sql.Composed:
    """Return rows that the planner knows nothing about; reading the table needs a right."""
    defined = [
        sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type))
        for column in columns
    ]
    return sql.SQL("pg_catalog.jsonb_to_recordset('[]'::jsonb) AS x({})").format(
        sql.SQL(", ").join(defined)
    )


def _value(rules: TableRules, column: ColumnFacts) -> sql.Composable | None:
    """Return a value that a rule gives to every new row; None if it depends on the row."""
    mask = rules.mask.get(column.name)
    if mask is not None:
        return _masked(mask, column)
    if column.name not in rules.exclude or not column.has_constant_default:
        return None  # a call, such as nextval(), must not be tried
    return sql.SQL(column.expression or "NULL")


def _masked(mask: Mask, column: ColumnFacts) -> sql.Composable | None:
    family = family_of(column.type)
    if mask.function is MaskFunction.NULL:
        return sql.SQL("NULL")
    if mask.function is MaskFunction.CONSTANT:
        return sql.Literal(mask.constant_text)
    if mask.function is MaskFunction.PSEUDONYM:
        if family is Family.INTEGER:
            return sql.Literal(2**62)
        return sql.Literal(_SAMPLE[: type_length(column.type) or len(_SAMPLE)])
    return None
