"""Rows of the receiver that have a unique value which an incoming row gets.

A unique index compares its elements, which may be expressions, by its own operators, and only among
the rows that meet its predicate. An exclusion constraint names its operators. So the elements of
the present rows and of the incoming ones are computed by the index's own definition and compared as
the index does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

from psycopg import sql

from ar_sync_pipeline.merge.differences import WRITTEN, TableDifference
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.definition_texts import comparable_text
from ar_sync_pipeline.postgres.sql_parts import column_list, is_null
from ar_sync_pipeline.postgres.table_facts import UniqueKey

ROWS = "ar_sync rows"
"""Alias of the rows in `indexed`, which no table of the application has."""
# The name of a system column, which no column of a table has.
_WHOLE_ROW = "cmax"
_MOST_COLUMNS = 4


def holders(difference: TableDifference, unique: UniqueKey) -> sql.Composed:
    """Return identities of receiver rows whose unique value an incoming row takes."""
    return _conflicts(difference, unique, _incoming_values(difference, unique))


def _conflicts(
    difference: TableDifference, unique: UniqueKey, values: sql.Composed
) -> sql.Composed:
    """Return identities of receiver rows that have a unique value of another row."""
    identity = difference.identity
    return sql.SQL(
        "SELECT DISTINCT {held_identity} FROM ({present}) AS h JOIN ({values}) AS w"
        " ON {conflicts} AND NOT ({same})"
    ).format(
        held_identity=identity.stored_list("h"),
        present=_present_values(difference, unique),
        values=values,
        conflicts=conflict(unique, "h", "w"),
        same=identity.same("h", "w"),
    )


def still_held(
    difference: TableDifference, unique: UniqueKey, moved: sql.Identifier
) -> sql.Composed:
    """Return a query whether rows of a temporary table of identities still have such a value."""
    return sql.SQL("SELECT EXISTS (SELECT FROM ({}) AS h JOIN {} AS m ON {})").format(
        holders(difference, unique), moved, difference.identity.same("h", "m")
    )


def repeated_values(difference: TableDifference, unique: UniqueKey) -> sql.Composed:
    """Return a query whether a written row duplicates a unique value after the merge.

    It is for deferrable constraints, which a session in replica mode does not check.
    """
    # The place of a staged row is another than that of the row that was written from it.
    values = _present_values if difference.identity.by_place else _incoming_values
    repeated = _conflicts(difference, unique, values(difference, unique))
    return sql.SQL("SELECT EXISTS ({})").format(repeated)


def follows(unique: UniqueKey, definitions: Sequence[str]) -> bool:
    """Return whether a unique key of the receiver follows from the sender's.

    It does if the sender has the same definition, or a unique key over fewer of its columns.
    """
    # An older version of the sender writes texts as PostgreSQL prints them.
    known = {comparable_text(definition) for definition in definitions}
    if unique.definition in known:
        return True
    if not unique.plain or unique.exclusion:
        return False
    return any(
        replace(
            unique,
            elements=tuple(unique.elements[i] for i in chosen),
            operators=tuple(unique.operators[i] for i in chosen),
            collations=tuple(unique.collations[i] for i in chosen),
            predicate=predicate,
            nulls_distinct=nulls_distinct,
            by_equality=by_equality,
        ).definition
        in known
        for size in range(1, min(len(unique.plain), _MOST_COLUMNS) + 1)
        for chosen in permutations(range(len(unique.plain)), size)
        for predicate in {unique.predicate, None}
        for nulls_distinct in {unique.nulls_distinct, False}
        for by_equality in {unique.by_equality, True}
    )


def conflict(unique: UniqueKey, one: str, other: str) -> sql.Composed:
    """Return a condition whether the elements of two rows, ``v1`` and so on, violate the key."""
    conditions = []
    for number, operator in enumerate(unique.operators, 1):
        name = f"v{number}"
        compared = sql.SQL("{} {} {}").format(
            sql.Identifier(one, name), sql.SQL(operator), sql.Identifier(other, name)
        )
        if not unique.nulls_distinct:
            compared = sql.SQL("({} OR {} AND {})").format(
                compared, is_null(one, name), is_null(other, name)
            )
        conditions.append(compared)
    return sql.SQL(" AND ").join(conditions)


def indexed(unique: UniqueKey, kept: sql.Composable, rows: sql.Composable) -> sql.Composed:
    """Return what ``kept`` names of the `ROWS` that a unique key is about, and its elements.

    A whole row has to have the table's own type, for the functions that take it.
    """
    alias, row = sql.Identifier(ROWS), unique.whole_row
    source = sql.SQL("{} AS {}").format(rows, alias)
    if row is not None:
        source = sql.SQL(
            "(SELECT {}, ROW({})::{} AS {} FROM {}) AS {}"
            " CROSS JOIN pg_catalog.unnest(ARRAY[{}]) AS {}"
        ).format(
            kept,
            column_list(row.columns, ROWS),
            sql.Identifier(row.schema, row.relname),
            sql.Identifier(_WHOLE_ROW),
            source,
            alias,
            sql.Identifier(ROWS, _WHOLE_ROW),
            sql.Identifier(row.relname),
        )
    return sql.SQL("SELECT {}, {} FROM {} WHERE {}").format(
        kept, _elements(unique), source, sql.SQL(unique.predicate or "true")
    )


def _elements(unique: UniqueKey) -> sql.Composed:
    """Return the elements of a unique key as a list to select, named ``v1`` and so on."""
    collates = unique.collates or ("",) * len(unique.elements)
    return sql.SQL(", ").join(
        sql.SQL("({}){} AS {}").format(
            sql.SQL(element),
            sql.SQL(f" COLLATE {collation}" if collation else ""),
            sql.Identifier(f"v{number}"),
        )
        for number, (element, collation) in enumerate(
            zip(unique.elements, collates, strict=True), 1
        )
    )


def _present_values(difference: TableDifference, unique: UniqueKey) -> sql.Composed:
    return _values(
        sql.SQL("{}, {}").format(
            difference.identity.values("t"), column_list(difference.target.columns_of(unique), "t")
        ),
        sql.SQL("{} AS t").format(difference.target.rows),
        difference,
        unique,
    )


def _incoming_values(difference: TableDifference, unique: UniqueKey) -> sql.Composed:
    """Return the values of the written rows.

    Receiver-only columns are reset, keep their value, or, in a new row, get their default.
    """
    target = difference.target
    resets = {
        name: sql.SQL("(SELECT {} FROM {} AS r)").format(
            sql.Identifier("r", name), difference.resets
        )
        for name in target.defaults()
    }
    source: sql.Composable = difference.rows(WRITTEN)
    columns = []
    for name in target.columns_of(unique):
        value = sql.Identifier("n", name) if name in target.shared else _kept_value(target, name)
        columns.append(sql.SQL("{} AS {}").format(resets.get(name, value), sql.Identifier(name)))
    if not set(target.columns_of(unique)) <= {*target.shared, *resets}:
        source = sql.SQL("{} LEFT JOIN {} AS t ON {}").format(
            source, target.rows, target.same_row("t", "n") if target.key else sql.SQL("false")
        )
    return _values(
        sql.SQL("{}, {}").format(difference.identity.values("n"), sql.SQL(", ").join(columns)),
        source,
        difference,
        unique,
    )


def _kept_value(target: TargetTable, name: str) -> sql.Composable:
    """Return the value that a receiver-only column keeps in ``t``, or gets if there is no row."""
    column = target.facts.column(name)
    kept = sql.Identifier("t", name)
    if column is None or not column.expression:
        return kept
    place = sql.Identifier("t", "ctid")
    return sql.SQL("CASE WHEN {} IS NULL THEN {} ELSE {} END").format(
        place, sql.SQL(column.expression), kept
    )


def _values(
    columns: sql.Composable,
    source: sql.Composable,
    difference: TableDifference,
    unique: UniqueKey,
) -> sql.Composed:
    """Return the index's elements of some rows, whose columns have their bare names."""
    rows = sql.SQL("SELECT {} FROM {}").format(columns, source)
    computed = [
        sql.SQL("{} AS {}").format(sql.SQL(column.expression), sql.Identifier(column.name))
        for column in difference.target.facts.columns
        if column.generated and column.name in unique.uses
    ]
    if computed:
        rows = sql.SQL("SELECT x.*, {} FROM ({}) AS x").format(sql.SQL(", ").join(computed), rows)
    return indexed(unique, difference.identity.stored_list(ROWS), sql.SQL("({})").format(rows))
