"""Merge of a staged archive into the receiver's tables, inside one transaction: `apply`.

Each of its steps returns the input of the next: `FoundChanges` (what differs, which rows are to be
deleted), `PlannedMerge` (what it will do, and what it remembers of the rows before), `WrittenMerge`
and `MergeResult`. The types ensure that every written row was planned and every result verified.
Unchanged rows are never written, receiver-only columns keep their values, and the result is
compared with the archive's digests before commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import psycopg

from ar_sync_pipeline.merge.archive_rows import ArchiveRows
from ar_sync_pipeline.merge.errors import refusal
from ar_sync_pipeline.merge.found_changes import FoundChanges, find_changes
from ar_sync_pipeline.merge.planned_merge import plan_merge
from ar_sync_pipeline.merge.preserved_rows import PreservedRows
from ar_sync_pipeline.merge.receiver_references import References
from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.violated_tables import violated_tables
from ar_sync_pipeline.merge.written_merge import MergeResult, write_rows
from ar_sync_pipeline.postgres.connect import Connection, is_of_the_server

__all__ = ["ArchiveRows", "MergeResult", "apply"]


def apply(
    connection: Connection,
    references: References,
    archive: ArchiveRows,
    effects: SideEffects,
    *,
    preserved: PreservedRows | None = None,
    later: Mapping[str, Sequence[StagedTable]] | None = None,
    lap: Callable[[str], object] = lambda _: None,
) -> MergeResult:
    """Merge one archive and verify the result, in the caller's transaction.

    Args:
        references: Every table of the receiver, and the replicated ones.
        effects: Whether this transaction suppresses side effects.
        preserved: Copies of deleted rows, if later archives follow in the same load.
        later: Staged tables of the archives that are applied after this one, by name.
        lap: Called at the end of each phase, ``merge`` and ``verify``.

    Raises:
        LoadRefusedError: The receiver's constraints refuse the rows, or the rows depend on what a
            missing archive may contain.
        DigestMismatchError: The result differs from the sender's rows.
    """
    found: FoundChanges | None = None
    try:
        later = later or {}
        found = find_changes(connection, references, archive, effects, later)
        written = write_rows(plan_merge(found, later, preserved))
        lap("merge")
        result = written.verify()
        lap("verify")
    except psycopg.Error as error:
        if is_of_the_server(error, connection):
            raise
        if found is not None:
            found.refuse_key_of_the_receiver(error)
        fired = found.fired() if found else ()
        between = violated_tables(error, found.references if found else references)
        raise refusal(
            error,
            fired=fired,
            suppressed=effects.suppressed,
            between=between,
            of_partition=found is not None and found.may_be_of_a_partition(error),
        ) from error
    return result
