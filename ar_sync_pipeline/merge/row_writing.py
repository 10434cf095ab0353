"""Writing the differing rows of one table: update, insert, and the sender's original values."""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.merge.differences import ADD, CHANGE, SET_ASIDE, TableDifference
from ar_sync_pipeline.merge.target_table import TargetTable, equal_keys, row_of
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.shipped_table import column_list


def ensure_source_values(connection: Connection, target: TargetTable) -> None:
    """Make the table that keeps the sender's values of columns which the transform rewrites."""
    if not target.rewritten:
        return
    columns = (*target.primary_key, *target.rewritten)
    if _exists(connection, target.source_values):
        return
    with connection.transaction():
        connection.execute(
            sql.SQL("CREATE TABLE {} AS SELECT {} FROM {} WITH NO DATA").format(
                target.source_values, column_list(columns), target.relation
            )
        )
        connection.execute(
            sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(
                target.source_values, column_list(target.primary_key)
            )
        )


def set_rows_aside(connection: Connection, difference: TableDifference) -> None:
    """Take out the rows whose unique values move, keeping all of their columns."""
    target = difference.staged.target
    if difference.changed == 0 or not target.unique_keys():
        return
    same = equal_keys("t", "d", target.primary_key)
    connection.execute(
        sql.SQL(
            "CREATE TEMP TABLE {} ON COMMIT DROP AS"
            " SELECT t.* FROM {} AS t JOIN {} AS d ON {} WHERE d.action = {}"
        ).format(
            difference.aside, target.relation, difference.relation, same, sql.Literal(SET_ASIDE)
        )
    )
    connection.execute(
        sql.SQL("DELETE FROM {} AS t USING {} AS d WHERE {}").format(
            target.relation, difference.aside, same
        )
    )


def write_rows(connection: Connection, difference: TableDifference) -> None:
    """Write a table's differing rows; the receiver's own columns of known rows keep their values.

    The catalog's resets (``transformed = false``) are part of the same statements, so no reader
    ever sees a changed row that still claims to be transformed.
    """
    target = difference.staged.target
    if difference.changed:
        _update(connection, difference)
        if target.unique_keys():
            _insert(connection, difference, SET_ASIDE)
    if difference.added:
        _insert(connection, difference, ADD)
    if target.rewritten:
        _remember_source_values(connection, difference)


def _update(connection: Connection, difference: TableDifference) -> None:
    target = difference.staged.target
    plain = [
        name
        for name in target.shared
        if name not in target.primary_key and name not in target.rewritten
    ]
    assignments = [
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("n", name)) for name in plain
    ]
    assignments += [_unless_unchanged(target, name) for name in target.rewritten]
    assignments += [
        sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in _resets(target)
    ]
    if not assignments:
        return
    connection.execute(
        sql.SQL(
            "UPDATE {} AS t SET {} FROM {} AS n JOIN {} AS d ON {} WHERE {} AND d.action = {}"
        ).format(
            target.relation,
            sql.SQL(", ").join(assignments),
            difference.staged.relation,
            difference.relation,
            equal_keys("d", "n", target.primary_key),
            equal_keys("t", "n", target.primary_key),
            sql.Literal(CHANGE),
        )
    )


def _insert(connection: Connection, difference: TableDifference, action: str) -> None:
    """Insert new rows, or rows set aside together with the receiver's own columns."""
    target = difference.staged.target
    resets = dict(_resets(target))
    kept = [name for name in target.own if name not in resets] if action == SET_ASIDE else []
    names = [*target.shared, *resets, *kept]
    values: list[sql.Composable] = [sql.Identifier("n", name) for name in target.shared]
    values += resets.values()
    values += [sql.Identifier("k", name) for name in kept]
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}").format(
            target.relation,
            column_list(names),
            sql.SQL(", ").join(values),
            _rows_to_insert(difference, action),
        )
    )


def _rows_to_insert(difference: TableDifference, action: str) -> sql.Composed:
    """The staged rows of an action as ``n``, and as ``k`` what was set aside of them."""
    key = difference.staged.target.primary_key
    staged = sql.SQL("{} AS n").format(difference.staged.relation)
    if difference.fills:
        return staged
    chosen = sql.SQL("{} JOIN {} AS d ON {} AND d.action = {}").format(
        staged, difference.relation, equal_keys("d", "n", key), sql.Literal(action)
    )
    if action != SET_ASIDE:
        return chosen
    return sql.SQL("{} JOIN {} AS k ON {}").format(
        chosen, difference.aside, equal_keys("k", "n", key)
    )


def _resets(target: TargetTable) -> list[tuple[str, sql.Composable]]:
    rules = target.rules
    resets: list[tuple[str, sql.Composable]] = [
        (name, sql.Literal(value)) for name, value in sorted(rules.reset_on_change.items())
    ]
    resets += [(name, sql.SQL("NULL")) for name in rules.clear_on_change]
    return [(name, value) for name, value in resets if name in target.own]


def _unless_unchanged(target: TargetTable, name: str) -> sql.Composed:
    """The sender's new value, or the rewritten one where the sender's has not changed."""
    known = sql.SQL("SELECT s.{} FROM {} AS s WHERE {}").format(
        sql.Identifier(name), target.source_values, equal_keys("s", "t", target.primary_key)
    )
    return sql.SQL("{column} = CASE WHEN {new} = ({known}) THEN {old} ELSE {new} END").format(
        column=sql.Identifier(name),
        new=sql.Identifier("n", name),
        known=known,
        old=sql.Identifier("t", name),
    )


def _remember_source_values(connection: Connection, difference: TableDifference) -> None:
    target = difference.staged.target
    columns = (*target.primary_key, *target.rewritten)
    connection.execute(
        sql.SQL(
            "INSERT INTO {known} AS s ({columns}) SELECT {values} FROM {stage} AS n"
            " ON CONFLICT ({key}) DO UPDATE SET {updates} WHERE {held} *<> {excluded}"
        ).format(
            known=target.source_values,
            columns=column_list(columns),
            values=column_list(columns, "n"),
            stage=difference.staged.relation,
            key=column_list(target.primary_key),
            updates=sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name))
                for name in target.rewritten
            ),
            held=row_of(target.rewritten, "s"),
            excluded=row_of(target.rewritten, "excluded"),
        )
    )


def _exists(connection: Connection, relation: sql.Identifier) -> bool:
    row = connection.execute(
        sql.SQL("SELECT to_regclass({}) IS NOT NULL").format(
            sql.Literal(relation.as_string(connection))
        )
    ).fetchone()
    return bool(row and row[0])
