"""Statements that write the differing rows of a table, and the sender's original values."""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.merge.differences import (
    ADD,
    CHANGE,
    REPLACE,
    TableDifference,
    unchanged_flag,
)
from ar_sync_pipeline.merge.source_values import stored_value
from ar_sync_pipeline.merge.target_table import row_of
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.sql_parts import assignments, column_list


def take_out_replaced_rows(connection: Connection, difference: TableDifference) -> None:
    """Delete the rows that are replaced, and copy all of their columns first."""
    target, identity = difference.target, difference.identity
    connection.execute(
        sql.SQL(
            "CREATE TEMP TABLE {} ON COMMIT DROP AS"
            " SELECT t.* FROM {} AS t JOIN {} AS d ON {} WHERE d.action = {}"
        ).format(
            difference.replaced,
            target.rows,
            difference.relation,
            identity.matches("t", "d"),
            sql.Literal(REPLACE),
        )
    )
    connection.execute(
        sql.SQL("DELETE FROM {} AS t USING {} AS d WHERE {} AND d.action = {}").format(
            target.rows, difference.relation, identity.matches("t", "d"), sql.Literal(REPLACE)
        )
    )


def write_statements(difference: TableDifference, *, replaces: bool) -> list[sql.Composed]:
    """Return the statements that write a table's differing rows, each row by one of them.

    Receiver-only columns of existing rows keep their values. The catalog's resets (``transformed =
    false``) are part of the same statements, so no reader ever sees a changed row that is still
    marked as transformed. `parent_resets` marks unchanged rows whose children change.

    Args:
        replaces: Whether `take_out_replaced_rows` deleted rows.
    """
    if difference.staged.direct:
        return []
    statements = []
    if difference.changed and (update := _update(difference)) is not None:
        statements.append(update)
    if replaces:
        statements.append(_insert(difference, REPLACE))
    if difference.added:
        statements.append(_insert(difference, ADD))
    return statements


def _update(difference: TableDifference) -> sql.Composed | None:
    """Return the update; it includes key columns, since equal keys can differ in bytes."""
    target = difference.target
    plain = [
        name
        for name in target.shared
        if name not in target.transformed and name not in target.fixed
    ]
    values: dict[str, sql.Composable] = {name: sql.Identifier("n", name) for name in plain}
    resets = target.defaults()
    # A row that is transformed again gets the sender's value: the transform may not be idempotent.
    values |= {
        name: sql.Identifier("n", name)
        if target.transforms_again
        else _unless_unchanged(number, name)
        for number, name in enumerate(target.transformed)
    }
    values |= resets
    if not values:
        return None
    return sql.SQL("UPDATE {} AS t SET {} FROM {} WHERE {}").format(
        target.rows,
        assignments(values),
        difference.rows((CHANGE,)),
        target.same_row("t", "n"),
    )


def _insert(difference: TableDifference, action: str) -> sql.Composed:
    """Return the insert of new rows, or of replaced ones with their receiver-only columns."""
    target = difference.target
    resets = target.defaults()
    kept = (
        [name for name in target.receiver_only if name not in resets] if action == REPLACE else []
    )
    names = [*target.shared, *resets, *kept]
    values: list[sql.Composable] = [sql.Identifier("n", name) for name in target.shared]
    values += resets.values()
    values += [sql.Identifier("k", name) for name in kept]
    source: sql.Composable = difference.rows((action,))
    if action == REPLACE:
        source = sql.SQL("{} JOIN {} AS k ON {}").format(
            source, difference.replaced, target.same_row("k", "n")
        )
    return sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}").format(
        target.relation, column_list(names), sql.SQL(", ").join(values), source
    )


def _unless_unchanged(number: int, name: str) -> sql.Composed:
    """Return the sender's new value, or the transformed one if the sender's has not changed."""
    return sql.SQL("CASE WHEN {unchanged} THEN {old} ELSE {new} END").format(
        unchanged=sql.Identifier("d", unchanged_flag(number)),
        old=sql.Identifier("t", name),
        new=sql.Identifier("n", name),
    )


def remember_source_values(connection: Connection, difference: TableDifference) -> None:
    """Store the sender's values of the columns that the transform changes in place."""
    target = difference.target
    if not target.transformed or not difference.staged.differing:
        return
    columns = (*target.key, *target.transformed)
    connection.execute(
        sql.SQL(
            "INSERT INTO {known} AS s ({columns}) SELECT {values} FROM {stage} AS n"
            " ON CONFLICT ({key}) DO UPDATE SET {updates} WHERE {held} *<> {excluded}"
        ).format(
            known=target.source_values,
            columns=column_list(columns),
            values=sql.SQL(", ").join(stored_value(target, name, "n") for name in columns),
            stage=difference.staged.relation,
            key=column_list(target.key),
            updates=assignments({name: sql.Identifier("excluded", name) for name in columns}),
            held=row_of(columns, "s"),
            excluded=row_of(columns, "excluded"),
        )
    )
