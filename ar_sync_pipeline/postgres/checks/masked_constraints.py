"""Check constraints that masked values may violate, found before a load fails."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from psycopg import sql

from ar_sync_pipeline.catalog.masks import Mask, MaskFunction
from ar_sync_pipeline.catalog.model import TableRules
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.column_masks import Family, exclude_it, family_of, type_length
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts

_CHECKS = """
SELECT k.conname, pg_get_expr(k.conbin, k.conrelid),
       ARRAY(SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey))
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE k.contype = 'c' AND (n.nspname, c.relname) = (%s, %s)
 ORDER BY k.conname
"""
_SAMPLE = "0123456789abcdef" * 2


def masked_constraint_findings(
    connection: Connection, rules: TableRules, table: TableFacts, *, receives: bool
) -> Iterator[Finding]:
    """Yield findings on check constraints of a table that read a masked column.

    Args:
        receives: Whether the table is the receiver's, which has to store the masked rows. The
            sender's only shows what the receiver's may be like, and is no reason to send nothing.
    """
    if not rules.mask:
        return
    for name, condition, columns in connection.execute(_CHECKS, table.place).fetchall():
        for column in map(table.column, sorted(set(columns) & rules.mask.keys())):
            if column is None:
                continue
            subject = f"constraint {name} of table {table.name}"
            holds = _holds(connection, condition, column, rules.mask[column.name], columns)
            if holds is False:
                parked = "so" if receives else "so that, where the receiver has it too,"
                yield Finding(
                    Level.ERROR if receives else Level.WARNING,
                    f"{subject} refuses what `mask` makes of {column.name}, {parked} archives are"
                    " parked",
                    f"take another function of `mask`, {exclude_it(column)}, or drop the"
                    " constraint at the receiver",
                )
            elif holds is None:
                yield Finding(
                    Level.NOTE,
                    f"{subject} reads {column.name}, which `mask` changes",
                    "make sure that masked rows meet it, or drop it at the receiver",
                )


def _holds(
    connection: Connection, condition: str, column: ColumnFacts, mask: Mask, columns: list[str]
) -> bool | None:
    """Return whether a masked value meets a condition; None: it depends on the row."""
    value = _example(mask, column)
    if value is None or len(columns) > 1:
        return None
    query = sql.SQL("SELECT ({}) IS NOT FALSE FROM (SELECT {}::{} AS {}) AS t").format(
        sql.SQL(condition), value, sql.SQL(column.type), sql.Identifier(column.name)
    )
    try:
        with connection.transaction():
            return bool(scalar(connection, query))
    except psycopg.Error:
        return None


def _example(mask: Mask, column: ColumnFacts) -> sql.Composable | None:
    """Return a value of a mask that does not depend on the row; None if every value does."""
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
