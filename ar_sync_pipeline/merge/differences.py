"""What a staged table changes: rows to add, to change, to set aside for a moment, to delete.

Computed first, as keys in temporary tables: it is the plan that operators see, and the merge
touches nothing else. Rows are compared to the bit; an unchanged row is never locked or written
(an upsert of everything writes forty times the WAL).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.target_table import TargetTable, equal_keys, row_of
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.shipped_table import column_list

ADD, CHANGE, SET_ASIDE = "a", "c", "s"


@dataclass(frozen=True)
class TableDifference:
    """The rows of one staged table that differ from the receiver's.

    Attributes:
        relation: temporary table of keys with an ``action`` of `ADD`, `CHANGE` or `SET_ASIDE`;
            there is none if nothing was staged, and the staging table is it if the target is
            filled. A row is set aside (deleted and inserted again, its own columns kept) when its
            value under a unique key changes: two rows may have exchanged theirs.
        aside: name of the temporary table for rows that are set aside.
        fills: the target has no rows; every staged one is to be added.
    """

    staged: StagedTable
    relation: sql.Identifier
    aside: sql.Identifier
    added: int
    changed: int
    fills: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing is to be written."""
        return self.added == 0 and self.changed == 0


def find_differences(connection: Connection, staged: StagedTable, prefix: str) -> TableDifference:
    """Compare a staging table with its target; inside the merge's transaction.

    Args:
        prefix: of the names of the temporary tables, unique within the transaction.
    """
    relation = sql.Identifier("pg_temp", f"{prefix}_diff")
    aside = sql.Identifier("pg_temp", f"{prefix}_aside")
    if not staged.differing:
        return TableDifference(staged, relation, aside, added=0, changed=0)
    target = staged.target
    if _is_empty(connection, target):
        rows = sum(chunk.row_count for chunk in staged.differing)
        return TableDifference(staged, staged.relation, aside, added=rows, changed=0, fills=True)
    source, current = _current_values(staged)
    connection.execute(
        sql.SQL(
            "CREATE TEMP TABLE {relation} ON COMMIT DROP AS"
            " SELECT {key}, CASE WHEN {missing} THEN {add} WHEN {moves} THEN {aside}"
            ' ELSE {change} END::"char" AS action FROM {stage} AS n LEFT JOIN {source} ON {same}'
            " WHERE {missing} OR {new} *<> {current}"
        ).format(
            relation=relation,
            key=column_list(target.primary_key, "n"),
            missing=sql.SQL("{} IS NULL").format(sql.Identifier("t", target.primary_key[0])),
            moves=_moves(staged),
            add=sql.Literal(ADD),
            aside=sql.Literal(SET_ASIDE),
            change=sql.Literal(CHANGE),
            stage=staged.relation,
            source=source,
            same=_same_row(staged),
            new=row_of(target.shared, "n"),
            current=current,
        )
    )
    connection.execute(
        sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(
            relation, column_list(target.primary_key)
        )
    )
    connection.execute(sql.SQL("ANALYZE {}").format(relation))
    row = connection.execute(
        sql.SQL("SELECT count(*) FILTER (WHERE action = {add}), count(*) FROM {relation}").format(
            add=sql.Literal(ADD), relation=relation
        )
    ).fetchone()
    added, total = row or (0, 0)
    return TableDifference(staged, relation, aside, added, total - added)


def count_differences(connection: Connection, staged: StagedTable) -> int:
    """How many staged rows the target lacks or holds otherwise."""
    target = staged.target
    source, current = _current_values(staged)
    query = sql.SQL(
        "SELECT count(*) FROM {} AS n LEFT JOIN {} ON {} WHERE {} IS NULL OR {} *<> {}"
    ).format(
        staged.relation,
        source,
        _same_row(staged),
        sql.Identifier("t", target.primary_key[0]),
        row_of(target.shared, "n"),
        current,
    )
    row = connection.execute(query).fetchone()
    return row[0] if row else 0


def count_drift(
    connection: Connection, difference: TableDifference, later: Sequence[sql.Identifier] = ()
) -> int | None:
    """Differing rows that partials should have brought long ago; None: the archive cannot tell.

    To be asked before the rows are written.

    Args:
        later: staging tables of the archives that are applied behind this one; a row in one of
            them differs because the receiver is ahead of a late complete.
    """
    staged = difference.staged
    if staged.changed_keys is None:
        return None
    if difference.empty:
        return 0
    explained = sql.SQL(" AND ").join(
        sql.SQL("NOT EXISTS (SELECT FROM {} AS k WHERE {})").format(
            relation, equal_keys("k", "d", staged.target.primary_key)
        )
        for relation in (staged.changed_keys, *later)
    )
    query = sql.SQL("SELECT count(*) FROM {} AS d WHERE {}").format(difference.relation, explained)
    row = connection.execute(query).fetchone()
    return row[0] if row else 0


def absent_rows(staged: StagedTable) -> sql.Composed:
    """Keys of the target's rows that a complete archive no longer has."""
    target = staged.target
    return sql.SQL("SELECT {} FROM {} AS t LEFT JOIN {} AS n ON {} WHERE {} IS NULL AND {}").format(
        column_list(target.primary_key, "t"),
        target.relation,
        staged.relation,
        equal_keys("t", "n", target.primary_key),
        sql.Identifier("n", target.primary_key[0]),
        staged.unsettled_keys("t"),
    )


def displaced_rows(difference: TableDifference) -> list[sql.Composed]:
    """Keys of rows that hold a unique value which an incoming row has at the sender.

    Such a row is not in the archive; at the sender it has changed or is gone. One query for each
    unique key.
    """
    if difference.fills:
        return []
    target = difference.staged.target
    return [
        sql.SQL(
            "SELECT {pk} FROM {table} AS t JOIN {stage} AS n ON {same_value} JOIN {rows} AS d"
            " ON {is_written} WHERE NOT EXISTS (SELECT FROM {stage} AS o WHERE {is_staged})"
        ).format(
            pk=column_list(target.primary_key, "t"),
            table=target.relation,
            stage=difference.staged.relation,
            same_value=equal_keys("t", "n", unique_key),
            rows=difference.relation,
            is_written=equal_keys("d", "n", target.primary_key),
            is_staged=equal_keys("o", "t", target.primary_key),
        )
        for unique_key in target.unique_keys()
    ]


def _is_empty(connection: Connection, target: TargetTable) -> bool:
    query = sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(target.relation)
    row = connection.execute(query).fetchone()
    return row is not None and bool(row[0])


def _current_values(staged: StagedTable) -> tuple[sql.Composed, sql.Composed]:
    """The receiver's rows as ``t``, and their shared columns as the sender last wrote them."""
    target = staged.target
    source = sql.SQL("{} AS t").format(target.relation)
    if not target.rewritten:
        return source, row_of(target.shared, "t")
    joined = sql.SQL("({} LEFT JOIN {} AS s ON {})").format(
        source, target.source_values, equal_keys("t", "s", target.primary_key)
    )
    values = [
        sql.SQL("CASE WHEN {known} IS NULL THEN {held} ELSE {sent} END").format(
            known=sql.Identifier("s", target.primary_key[0]),
            held=sql.Identifier("t", name),
            sent=sql.Identifier("s", name),
        )
        if name in target.rewritten
        else sql.Identifier("t", name)
        for name in target.shared
    ]
    return joined, sql.SQL("ROW({})::record").format(sql.SQL(", ").join(values))


def _same_row(staged: StagedTable) -> sql.Composed:
    """``t`` is the staged row ``n``; settled chunks, where no staged row is, are not even read."""
    return sql.SQL("{} AND {}").format(
        equal_keys("t", "n", staged.target.primary_key), staged.unsettled_keys("t")
    )


def _moves(staged: StagedTable) -> sql.Composable:
    target = staged.target
    changes = [
        sql.SQL("{} *<> {}").format(row_of(key, "n"), row_of(key, "t"))
        for key in target.unique_keys()
    ]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(changes)) if changes else sql.SQL("false")
