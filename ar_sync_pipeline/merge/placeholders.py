"""Temporary values of a column, which free its unique value for another row.

They are candidates only: the database decides whether one fits the column's type, domain, checks
and other unique indexes. The likeliest are tried first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from ar_sync_pipeline.merge.differences import TableDifference
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.session_settings import built_in_search_path
from ar_sync_pipeline.postgres.table_facts import ForeignKey, UniqueKey

NUMBER = sql.Identifier("m", "ar_sync number")
"""The number of a row among those that get placeholders, from 1."""
_DIGITS = "0123456789"
_MOST_LABELS = 8
_LENGTH = re.compile(r"\((\d+)\)\Z")
# A server in FIPS mode refuses md5().
_RANDOM = sql.SQL("pg_catalog.replace(pg_catalog.gen_random_uuid()::text, '-', '')")
# By type, or by category of types.
_OTHERS = {
    "B": "NOT {column}",
    "R": "'empty'::{base}",
    "I": "('fd00::'::inet + (pg_catalog.random() * 1e15::float8)::bigint)::{base}",
    "uuid": "pg_catalog.gen_random_uuid()",
    "bytea": "pg_catalog.uuid_send(pg_catalog.gen_random_uuid())",
}


@dataclass(frozen=True)
class Placeholder:
    """An assignment to one column of the row ``t``."""

    column: str
    value: sql.Composable


@dataclass(frozen=True)
class _ColumnType:
    """A column's type without its domains.

    Attributes:
        category: Category of the type, ``pg_type.typcategory``.
        labels: Labels of an enum.
    """

    base: str
    category: str
    labels: list[str]


def placeholders(
    connection: Connection, references: References, difference: TableDifference, unique: UniqueKey
) -> Iterator[Placeholder]:
    """Yield assignments that may take a row out of a unique index, or move it without a conflict.

    They use only columns that the merge writes afterwards, except key columns.
    """
    target, facts = difference.target, difference.target.facts
    written = {*target.shared, *target.defaults()} - {
        *target.key,
        *target.transformed,
        *target.fixed,
    }
    names = [name for name in target.columns_of(unique) if name in written]
    for name in names:
        column = facts.column(name)
        if column is not None and column.nullable and not _is_followed(references, target, name):
            yield Placeholder(name, sql.SQL("NULL"))
    for name in names:
        for value in _values(connection, difference, name):
            yield Placeholder(name, value)
        for key in references.of(target.name):
            if key.columns == (name,):
                yield Placeholder(name, _unused_parent(references, key))


def _is_followed(references: References, target: TargetTable, name: str) -> bool:
    """Return whether a foreign key would cascade a placeholder, which nothing would restore."""
    return any(
        name in key.referenced_columns and key.on_update.writes
        for key in references.to(target.name)
    )


def _values(
    connection: Connection, difference: TableDifference, name: str
) -> Iterator[sql.Composable]:
    with (
        built_in_search_path(connection),
        connection.cursor(row_factory=class_row(_ColumnType)) as cursor,
    ):
        facts = difference.target.facts
        relation = facts.relation.as_string(connection)
        found = cursor.execute(_TYPE, {"table": relation, "column": name}).fetchone()
    if found is None:
        return
    column, base = sql.Identifier("t", name), sql.SQL(found.base)
    if found.category == "S":
        yield from _texts(column, base, found.base)
    elif found.category in "ND":
        yield from _numbers(difference, name, base, found.category)
    elif found.category == "E":
        for label in found.labels[:_MOST_LABELS]:
            yield sql.SQL("{}::{}").format(sql.Literal(label), base)
    elif (value := _OTHERS.get(found.base) or _OTHERS.get(found.category)) is not None:
        yield sql.SQL(value).format(column=column, base=base)


def _unused_parent(references: References, key: ForeignKey) -> sql.Composed:
    """Return a value that the foreign key allows: that of a row to which no row refers."""
    child, parent = references.tables[key.table], references.tables[key.referenced_table]
    return sql.SQL(
        "(SELECT p.{value} FROM {parent} AS p WHERE NOT EXISTS (SELECT FROM {child} AS c WHERE"
        " {refers}) ORDER BY p.{value} OFFSET {number} - 1 LIMIT 1)"
    ).format(
        value=sql.Identifier(key.referenced_columns[0]),
        parent=parent.rows,
        child=child.rows,
        refers=key.refers("c", "p"),
        number=NUMBER,
    )


def _texts(column: sql.Identifier, base: sql.SQL, type_name: str) -> Iterator[sql.Composable]:
    """Yield the value with other digits, then with a suffix or prefix, then random text."""
    limit = _LENGTH.search(type_name)
    length = sql.Literal(min(int(limit[1]), 32) if limit else 32)
    for turn in range(1, 10):
        # Other digits keep the format of codes, numbers and addresses.
        turned = sql.Literal(_DIGITS[turn:] + _DIGITS[:turn])
        yield sql.SQL("pg_catalog.translate({}::text, {}, {})::{}").format(
            column, sql.Literal(_DIGITS), turned, base
        )
    yield sql.SQL("({}::text || {})::{}").format(column, _RANDOM, base)
    yield sql.SQL("({} || {}::text)::{}").format(_RANDOM, column, base)
    for _ in range(3):
        yield sql.SQL("pg_catalog.left({}, {})::{}").format(_RANDOM, length, base)


def _numbers(
    difference: TableDifference, name: str, base: sql.SQL, category: str
) -> Iterator[sql.Composable]:
    """Yield values above the largest and below the smallest value of both sides."""
    step = (
        sql.SQL("({} OPERATOR(pg_catalog.*) interval '1 day')").format(NUMBER)
        if category == "D"
        else sql.SQL("{}::integer::{}").format(NUMBER, base)  # money has no other addition
    )
    shared = name in difference.target.shared
    for extreme, beyond, sign in (("max", "greatest", "+"), ("min", "least", "-")):
        sides = [difference.target.rows, *([difference.staged.relation] if shared else [])]
        ends = sql.SQL(", ").join(
            sql.SQL("(SELECT pg_catalog.{}({}) FROM {})").format(
                sql.SQL(extreme), sql.Identifier(name), side
            )
            for side in sides
        )
        yield sql.SQL("({}({}) OPERATOR(pg_catalog.{}) {})::{}").format(
            sql.SQL(beyond), ends, sql.SQL(sign), step, base
        )


_TYPE = """
WITH RECURSIVE part AS (
  SELECT a.atttypid AS type, a.atttypmod AS modifier, 0 AS depth
    FROM pg_attribute a
   WHERE a.attrelid = %(table)s::regclass AND a.attname = %(column)s
  UNION ALL
  SELECT t.typbasetype, t.typtypmod, depth + 1
    FROM part p JOIN pg_type t ON t.oid = p.type
   WHERE t.typtype = 'd')
SELECT format_type(p.type, p.modifier) AS base, t.typcategory::text AS category,
       ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid
              ORDER BY e.enumsortorder) AS labels
  FROM part p JOIN pg_type t ON t.oid = p.type
 ORDER BY p.depth DESC LIMIT 1
"""
