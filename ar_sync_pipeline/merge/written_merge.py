"""Third step of a merge: free unique values, write everything in one statement, then verify.

One statement writes all tables, because the server checks foreign keys at the end of a statement
(PostgreSQL manual, 7.8.4 "Data-Modifying Statements in WITH"). So rows may refer to each other in
any order, even if constraints are not deferrable, and children can move to a new parent before the
old one is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.merge.differences import REPLACE, TableDifference
from ar_sync_pipeline.merge.filling import fill_from_staging
from ar_sync_pipeline.merge.found_changes import FoundChanges
from ar_sync_pipeline.merge.freeing import UniqueValueFreer
from ar_sync_pipeline.merge.leaf_references import refuse_actions_on_leaf_references
from ar_sync_pipeline.merge.orphan_checks import OrphanChecks
from ar_sync_pipeline.merge.planned_merge import PlannedMerge
from ar_sync_pipeline.merge.row_writing import (
    remember_source_values,
    take_out_replaced_rows,
    write_statements,
)
from ar_sync_pipeline.merge.table_plan import TablePlan
from ar_sync_pipeline.merge.unique_values import repeated_values
from ar_sync_pipeline.merge.verification import verify_table
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.session_settings import application_settings
from ar_sync_pipeline.postgres.sql_parts import exists


@dataclass(frozen=True)
class MergeResult:
    """Result of a merge.

    Attributes:
        plans: Plan of each table.
        rows_before: Number of rows before the merge, by table that lost rows.
        fired: Triggers and rules of the receiver that fired for replicated rows, as
            ``table.trigger``.
        keeps_absent: Tables that the archive carries whole and of which it left rows that it lacks.
    """

    plans: tuple[TablePlan, ...]
    rows_before: Mapping[str, int]
    fired: tuple[str, ...]
    keeps_absent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class WrittenMerge:
    """A merge whose rows are written and not yet verified; `write_rows` makes it.

    Attributes:
        checked_by_server: Foreign keys that were restored after the rows: schema, table, name.
    """

    planned: PlannedMerge
    checked_by_server: frozenset[tuple[str, str, str]]

    def verify(self) -> MergeResult:
        """Compare the result with the archive and with the constraints that the server skipped.

        Raises:
            LoadRefusedError: A constraint does not hold.
            DigestMismatchError: The result differs from the sender's rows.
        """
        found = self.planned.found
        checks = OrphanChecks(self.planned.actions.lost, self.checked_by_server)
        if found.effects.suppressed:
            checks.verify()
            for difference in found.differences.values():
                _verify_deferrable(found.connection, difference)
        else:
            checks.verify_actions()
        comparable = found.archive.comparable
        for difference in found.differences.values():
            spared = found.spared.get(difference.target.name)
            verify_table(found.connection, difference.staged, spared, comparable=comparable)
        kept = (one.target.name for one in found.archive.tables if one.keeps_absent)
        plans, before = self.planned.plans, self.planned.rows_before
        return MergeResult(plans, before, found.fired(), frozenset(kept))


def write_rows(planned: PlannedMerge) -> WrittenMerge:
    """Carry out a planned merge.

    Raises:
        LoadRefusedError: A unique value cannot be freed, or a referential action would change rows.
    """
    found, actions = planned.found, planned.actions
    connection, to_delete, effects = found.connection, found.to_delete, found.effects
    actions.refuse_actions_on_kept_references(effects)
    refuse_actions_on_leaf_references(found)
    connection.execute("SET CONSTRAINTS ALL DEFERRED")
    differences = list(found.differences.values())
    filling = found.archive.filling or fill_from_staging(
        connection, differences if found.archive.rebuilds else []
    )
    with filling.restored_after():
        with application_settings(connection):
            _execute_by_effect(found, lambda tables: to_delete.statements(tables & _leaves(found)))
            to_delete.clear_references(planned.cleared, effects)
        actions.remember_following(effects)
        replaced = _free_unique_values(found)
        with application_settings(connection):
            _write_tables(found, replaced)
        for difference in differences:
            remember_source_values(connection, difference)
        to_delete.delete_source_values()
        with application_settings(connection):
            if effects.suppressed:
                actions.follow(effects)
            else:
                actions.restore_followers()
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return WrittenMerge(planned, filling.foreign_keys)


def _free_unique_values(found: FoundChanges) -> set[str]:
    """Free unique values that rows exchange; returns the tables of which rows were taken out."""
    freer = UniqueValueFreer(found.connection, found.to_delete, found.effects)
    replaced = set()
    for number, difference in enumerate(found.differences.values()):
        freer.free(difference, f"{found.prefix}_free_{number}")
        if _has_replacements(found.connection, difference):
            freer.refuse_replacing(difference)
            take_out_replaced_rows(found.connection, difference)
            replaced.add(difference.target.name)
    return replaced


def _has_replacements(connection: Connection, difference: TableDifference) -> bool:
    if difference.fills or not difference.changed:
        return False
    replaced = sql.SQL("{} WHERE action = {}").format(difference.relation, sql.Literal(REPLACE))
    return exists(connection, replaced)


def _leaves(found: FoundChanges) -> set[str]:
    """Return tables whose rows to delete are deleted first: any update would hide them.

    An update, such as that of a cleared reference or by ``ON UPDATE``, moves a row without a key
    away from the place that identifies it. Rows to which others refer have to wait for these.
    """
    return {table for table in found.to_delete.movable() if not found.references.to(table)}


def _write_tables(found: FoundChanges, replaced: set[str]) -> None:
    """Write all tables in one statement; those whose triggers fire in another one."""
    _execute_by_effect(found, lambda tables: _statements(found, tables, replaced))


def _execute_by_effect(
    found: FoundChanges, statements: Callable[[set[str]], list[sql.Composed]]
) -> None:
    """Execute the statements of some tables as one, then those of tables whose triggers fire."""
    references, effects = found.references, found.effects
    firing = {name for name, target in references.targets.items() if effects.fires(target)}
    silent = (references.tables.keys() - firing) if effects.suppressed else set()
    _execute(found.connection, statements(silent))
    loud = statements(references.tables.keys() - silent)
    if loud:
        with effects.allowed():
            _execute(found.connection, loud)


def _statements(found: FoundChanges, tables: set[str], replaced: set[str]) -> list[sql.Composed]:
    deletions = found.to_delete.statements(tables - _leaves(found))
    return (deletions + found.resets.statements(tables)) + [
        statement
        for name, difference in found.differences.items()
        if name in tables
        for statement in write_statements(difference, replaces=name in replaced)
    ]


def _execute(connection: Connection, statements: Sequence[sql.Composed]) -> None:
    if not statements:
        return
    parts = sql.SQL(", ").join(
        sql.SQL("{} AS ({})").format(sql.Identifier(f"part {number}"), statement)
        for number, statement in enumerate(statements)
    )
    connection.execute(sql.SQL("WITH {} SELECT").format(parts))


def _verify_deferrable(connection: Connection, difference: TableDifference) -> None:
    """Check deferrable unique keys, which the server does not check in replica mode."""
    for unique in difference.target.facts.unique_keys:
        if not unique.deferrable or difference.empty:
            continue
        if scalar(connection, repeated_values(difference, unique)):
            raise LoadRefusedError(
                f"rows of {difference.target.name} would have a value of {unique.name} twice",
                remedy=f"compare {unique.name} with the sender's schema and alter it at the"
                " receiver; the archive is then loaded by itself",
                between=(difference.target.name,),
            )
