"""Differences of a staged table: rows to add, to change or to replace, and absent rows.

They are computed first, as row identities in temporary tables: operators see them as the plan, and
the merge writes nothing else. Rows are compared to the bit. An unchanged row is never locked
or written (an upsert of everything writes forty times the WAL).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.merge.chunk_changes import absent_rows_of_changes
from ar_sync_pipeline.merge.keyless import keyless_absent_rows, keyless_new_rows
from ar_sync_pipeline.merge.row_identity import RowIdentity
from ar_sync_pipeline.merge.source_values import sent_values, stored_value
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.target_table import TargetTable, record_of, row_of
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.session_settings import application_settings
from ar_sync_pipeline.postgres.sql_parts import FALSE, exists, is_null

ADD, CHANGE, REPLACE = "a", "c", "r"
WRITTEN = (ADD, CHANGE, REPLACE)
UNPROVEN = "ar_sync unproven"
"""Column that tells whether a row differs only in transformed columns of unknown sent values."""


@dataclass(frozen=True)
class TableDifference:
    """The rows of one staged table that differ from the receiver's.

    Attributes:
        relation: Temporary table of identities with an ``action`` of `ADD`, `CHANGE` or `REPLACE`.
            It does not exist if nothing was staged or the target is filled. To replace a row is to
            delete and insert it in the same merge, with the same values of its receiver-only
            columns. This is done only where PostgreSQL allows no update: for a ``GENERATED ALWAYS``
            identity that differs, or for a unique value that must move and for which no placeholder
            exists.
        replaced: Name of the temporary table for the rows that are replaced.
        resets: Temporary table of one row with the values that `TargetTable.defaults` gives to
            columns of unique keys; it does not exist if there are none.
        fills: Whether the target was empty. Every staged row is then added, or was added during
            staging if the staging table is the target itself.
    """

    staged: StagedTable
    relation: sql.Identifier
    replaced: sql.Identifier
    resets: sql.Identifier
    added: int
    changed: int
    fills: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing is to be written."""
        return self.added == 0 and self.changed == 0

    @property
    def target(self) -> TargetTable:
        """The receiver's table."""
        return self.staged.target

    @property
    def identity(self) -> RowIdentity:
        """Identity that `relation` stores; without a key, the place in the staging table."""
        return self.staged.target.identity

    def rows(self, actions: Sequence[str]) -> sql.Composed:
        """Return the staged rows of some actions, as ``n``, with their identity as ``d``."""
        if self.fills:
            return sql.SQL("{} AS n").format(self.staged.relation)
        return sql.SQL("{} AS n JOIN {} AS d ON {} AND d.action = ANY ({})").format(
            self.staged.relation,
            self.relation,
            self.identity.matches("n", "d"),
            sql.Literal(list(actions)),
        )


def find_differences(connection: Connection, staged: StagedTable, prefix: str) -> TableDifference:
    """Compare a staging table with its target, inside the merge's transaction.

    Args:
        prefix: Prefix of the names of temporary tables, unique within the transaction.
    """
    relation = sql.Identifier("pg_temp", f"{prefix}_diff")
    replaced = sql.Identifier("pg_temp", f"{prefix}_replaced")
    resets = sql.Identifier("pg_temp", f"{prefix}_resets")
    if not staged.differing:
        return TableDifference(staged, relation, replaced, resets, added=0, changed=0)
    target = staged.target
    _store_resets(connection, target, resets)
    if staged.direct or is_empty(connection, target):
        rows = sum(chunk.member_rows for chunk in staged.differing)
        return TableDifference(
            staged, relation, replaced, resets, added=rows, changed=0, fills=True
        )
    query = _differing_rows(staged) if target.key else keyless_new_rows(staged)
    target.identity.fill(connection, f"{prefix}_diff", query)
    connection.execute(sql.SQL("ANALYZE {}").format(relation))
    ((added, total),) = connection.execute(
        sql.SQL("SELECT count(*) FILTER (WHERE action = {add}), count(*) FROM {relation}").format(
            add=sql.Literal(ADD), relation=relation
        )
    ).fetchall()
    return TableDifference(staged, relation, replaced, resets, added, total - added)


def _store_resets(connection: Connection, target: TargetTable, relation: sql.Identifier) -> None:
    """Read the resets within unique keys as the write does: a day may be another one here."""
    defaults = target.defaults()
    names = {name for unique in target.facts.unique_keys for name in target.columns_of(unique)}
    values = [
        sql.SQL("{}::{} AS {}").format(
            defaults[column.name], sql.SQL(column.type), sql.Identifier(column.name)
        )
        for column in target.facts.columns
        if column.name in defaults and column.name in names
    ]
    if values:
        with application_settings(connection):
            connection.execute(
                sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {}").format(
                    relation, sql.SQL(", ").join(values)
                )
            )


def _differing_rows(staged: StagedTable) -> sql.Composed:
    target = staged.target
    source, current = current_values(staged)
    fixed = target.fixed
    moved = (
        sql.SQL("{} *<> {}").format(row_of(fixed, "n"), row_of(fixed, "t"))
        if fixed
        else sql.SQL("false")
    )
    return sql.SQL(
        "SELECT {identity}, CASE WHEN {missing} THEN {add} WHEN {moved} THEN {replace}"
        " ELSE {change} END::text AS action{flags} FROM {stage} AS n LEFT JOIN {source} ON {same}"
        " WHERE {missing} OR {new} *<> {current}"
    ).format(
        identity=target.identity.values("n"),
        missing=is_null("t", target.key[0]),
        moved=moved,
        add=sql.Literal(ADD),
        replace=sql.Literal(REPLACE),
        change=sql.Literal(CHANGE),
        stage=staged.relation,
        source=source,
        same=_same_row(staged),
        flags=_flags_of_source_values(target),
        new=record_of(
            stored_value(target, name, "n")
            if name in target.transformed
            else sql.Identifier("n", name)
            for name in target.shared
        ),
        current=current,
    )


def _flags_of_source_values(target: TargetTable) -> sql.Composable:
    """Return columns that tell about the stored values of a row: `UNPROVEN`, `unchanged_flag`.

    They are computed here, since values are printed otherwise where rows are written.
    """
    if not target.transformed:
        return sql.SQL("")
    unknown = is_null("s", target.key[0])
    plain = [name for name in target.shared if name not in target.transformed]
    flags = {UNPROVEN: (unknown, row_of(plain, "n"), row_of(plain, "t"))}
    for number, name in enumerate(target.transformed):
        sent = record_of([stored_value(target, name, "n")])
        known = sql.SQL("NOT ({})").format(unknown)
        flags[unchanged_flag(number)] = (known, sent, row_of((name,), "s"))
    return sql.SQL("").join(
        sql.SQL(", ({} AND {} *= {}) AS {}").format(*parts, sql.Identifier(flag))
        for flag, parts in flags.items()
    )


def unchanged_flag(number: int) -> str:
    """Return the column that tells whether the sender's value of a transformed column is known.

    Args:
        number: Number of the column in `TargetTable.transformed`.
    """
    return f"ar_sync unchanged {number}"


def count_differences(connection: Connection, staged: StagedTable) -> int:
    """Return how many staged rows are missing or different in the target."""
    target = staged.target
    query = _differing_rows(staged) if target.key else keyless_new_rows(staged)
    return int(scalar(connection, sql.SQL("SELECT count(*) FROM ({}) AS d").format(query)))


def count_drift(
    connection: Connection, difference: TableDifference, later: Sequence[StagedTable]
) -> int | None:
    """Count differing rows that earlier partials should have contained; None: unknown.

    Rows that may only have been transformed do not count. Call it before the rows are written.

    Args:
        later: The table in the archives that are applied after this one. A row in one of them
            differs because the receiver is newer than a late complete.
    """
    staged = difference.staged
    if staged.changed_keys is None:
        return None
    if difference.empty:
        return 0
    explained = sql.SQL(" AND ").join(
        sql.SQL("NOT EXISTS (SELECT FROM {} AS k WHERE {})").format(
            relation, difference.identity.matches("k", "d")
        )
        for relation in (
            staged.changed_keys,
            *(other.with_columns(staged.target.key) for other in later),
        )
    )
    source = (
        sql.SQL("(SELECT {} FROM {})").format(difference.identity.values("n"), difference.rows([]))
        if difference.fills
        else difference.relation
    )
    query = sql.SQL("SELECT count(*) FROM {} AS d WHERE {}").format(source, explained)
    if staged.target.transformed and not difference.fills:
        query = sql.SQL("{} AND NOT {}").format(query, sql.Identifier("d", UNPROVEN))
    return int(scalar(connection, query))


def absent_rows(staged: StagedTable) -> sql.Composed:
    """Return identities of the target's rows that an archive with all rows does not contain."""
    target = staged.target
    if not target.key:
        return keyless_absent_rows(staged)
    query = sql.SQL("SELECT {} FROM {} AS t LEFT JOIN {} AS n ON {} WHERE {} AND {}")
    whole = query.format(
        target.identity.values("t"),
        target.rows,
        staged.relation,
        target.same_row("t", "n"),
        is_null("n", target.key[0]),
        staged.in_whole_chunks(),
    )
    if not staged.changes:
        return whole
    return sql.SQL("{} UNION ALL {}").format(whole, absent_rows_of_changes(staged))


def is_staged(staged: StagedTable, alias: str) -> sql.Composed:
    """Return the condition that the stored identity ``alias`` is that of a staged row."""
    identity = staged.target.identity
    if identity.by_place:
        return FALSE
    return sql.SQL("EXISTS (SELECT FROM {} AS o WHERE {})").format(
        staged.relation, identity.matches("o", alias)
    )


def is_empty(connection: Connection, target: TargetTable) -> bool:
    """Return whether a table has no rows."""
    return not exists(connection, target.rows)


def current_values(staged: StagedTable) -> tuple[sql.Composed, sql.Composed]:
    """Return the receiver's rows as ``t``, and their shared columns as last sent."""
    source, sent = sent_values(staged.target)
    return source, record_of(
        sent.get(name, sql.Identifier("t", name)) for name in staged.target.shared
    )


def _same_row(staged: StagedTable) -> sql.Composed:
    """Return the condition that ``t`` is the staged row ``n``, without reading unchanged chunks."""
    return sql.SQL("{} AND {}").format(
        staged.target.same_row("t", "n"), staged.outside_unchanged_chunks()
    )
