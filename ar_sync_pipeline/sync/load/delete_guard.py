"""The delete guard: does a load delete so much that a person should look first?

A sender whose table was emptied by mistake, or that points at another database, must not empty the
receiver too (design, section 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import SpooledArchive, SpoolState
from ar_sync_pipeline.sync.errors import DeleteGuardError

_SMALL_TABLE_ROWS = 1000
_SWITCHED_OFF = 100


@dataclass(frozen=True)
class Deletion:
    """What a load deletes of one table.

    Attributes:
        rows_before: of the table before the load.
        rows_deleted: that are gone after it.
        emptied: whether nothing is left.
    """

    table: str
    rows_before: int
    rows_deleted: int
    emptied: bool

    def __str__(self) -> str:
        """The deletion in words."""
        if self.emptied:
            return f"{self.table} would be emptied of its {self.rows_before:,} rows"
        share = 100 * self.rows_deleted / self.rows_before
        return (
            f"{self.rows_deleted:,} of {self.rows_before:,} rows of {self.table}"
            f" ({share:.1f} %) would be deleted"
        )


def suspicious(deletions: Sequence[Deletion], percent: int) -> tuple[Deletion, ...]:
    """The deletions that need an operator's word.

    Args:
        percent: share of a table of more than 1,000 rows that may go without asking; 100 allows
            everything.
    """
    if percent >= _SWITCHED_OFF:
        return ()
    return tuple(
        deletion
        for deletion in deletions
        if (deletion.emptied and deletion.rows_before > 0)
        or (
            deletion.rows_before > _SMALL_TABLE_ROWS
            and deletion.rows_deleted * 100 > deletion.rows_before * percent
        )
    )


def held_by_guard(archive: SpooledArchive) -> bool:
    """Whether an archive is parked because of what it would delete."""
    if archive.state is not SpoolState.PARKED:
        return False
    reason = read_reason(archive.path)
    return reason is not None and reason.error == DeleteGuardError.code
