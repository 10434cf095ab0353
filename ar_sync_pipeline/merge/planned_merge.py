"""Second step of a merge: the plan, and what must be remembered before rows are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ar_sync_pipeline.merge.differences import count_drift
from ar_sync_pipeline.merge.found_changes import FoundChanges
from ar_sync_pipeline.merge.lost_values import LostValues
from ar_sync_pipeline.merge.preserved_rows import PreservedRows
from ar_sync_pipeline.merge.referential_actions import ReferentialActions
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.table_plan import TablePlan
from ar_sync_pipeline.merge.target_table import count_rows
from ar_sync_pipeline.postgres.table_facts import ForeignKey


@dataclass(frozen=True)
class PlannedMerge:
    """A merge that may be written; `plan_merge` makes it.

    Attributes:
        actions: Referential actions that the merge causes.
        cleared: Foreign keys whose receiver-only columns become NULL, since they refer to rows to
            delete.
        plans: Plan of each table.
        rows_before: Number of rows before the merge, by table that loses rows.
    """

    found: FoundChanges
    actions: ReferentialActions
    cleared: tuple[ForeignKey, ...]
    plans: tuple[TablePlan, ...]
    rows_before: Mapping[str, int]


def plan_merge(
    found: FoundChanges,
    later: Mapping[str, Sequence[StagedTable]],
    preserved: PreservedRows | None,
) -> PlannedMerge:
    """Count what a merge will do, and copy what it and later archives need of the rows before.

    Args:
        later: Staged tables of the archives that are applied after this one, by name.
        preserved: Copies of deleted rows, if later archives follow in the same load.
    """
    lost = LostValues(
        found.connection, found.references, found.differences, found.to_delete, found.prefix
    )
    lost.remember()
    actions = ReferentialActions(lost)
    if not found.effects.suppressed:
        actions.remember_followers()
    cleared = found.to_delete.count_cleared()
    plans = _plans(found, actions, cleared, later)
    before = {
        table: count_rows(found.connection, found.references.tables[table])
        for table in found.to_delete.tables()
    }
    if preserved is not None:
        preserved.remember(found.to_delete, lost, later)
    return PlannedMerge(found, actions, tuple(cleared), plans, before)


def _plans(
    found: FoundChanges,
    actions: ReferentialActions,
    cleared: Mapping[ForeignKey, int],
    later: Mapping[str, Sequence[StagedTable]],
) -> tuple[TablePlan, ...]:
    followers = actions.followers()
    for key, count in cleared.items():
        followers[key.table] = followers.get(key.table, 0) + count
    deleted = found.to_delete.counts
    plans = [
        TablePlan(
            table,
            added=difference.added,
            changed=difference.changed,
            deleted=deleted.get(table, 0),
            row_count=difference.staged.manifest.row_count,
            drift=count_drift(found.connection, difference, later.get(table, ())),
            unverified=len(difference.staged.unverified),
        )
        for table, difference in found.differences.items()
    ]
    others = {
        t for t in (*deleted, *followers) if deleted.get(t) or followers.get(t)
    } - found.differences.keys()
    plans += [
        TablePlan(t, 0, followers.get(t, 0), deleted.get(t, 0), 0, sent=False)
        for t in sorted(others)
    ]
    return tuple(plans)
