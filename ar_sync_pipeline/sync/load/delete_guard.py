"""The delete guard: a load that deletes many rows needs an operator's approval.

A sender whose table was emptied by error, or that is connected to another database, must not empty
the receiver too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ar_sync_pipeline.spool.states import SpooledArchive, SpoolState
from ar_sync_pipeline.sync.errors import DeleteGuardError
from ar_sync_pipeline.sync.rejection import Rejection
from ar_sync_pipeline.visible_text import counted

_SMALL_TABLE_ROWS = 1000
SWITCHED_OFF = 100


@dataclass(frozen=True)
class Deletion:
    """Rows that a load deletes from one table.

    Attributes:
        rows_before: Number of rows before the load.
        rows_deleted: Number of rows that the load deletes.
        emptied: Whether no row of a replicated table is left.
        by_place: Whether a changed row counts in plans as a deleted one and an added one.
        receiver_only: Whether only the receiver has the table. Its rows refer to deleted ones, and
            no archive brings them back.
    """

    table: str
    rows_before: int
    rows_deleted: int
    emptied: bool
    by_place: bool = False
    receiver_only: bool = False

    def __str__(self) -> str:
        """Return the deletion in words."""
        if self.emptied:
            return f"{self.table} would be emptied of its {counted(self.rows_before, 'row')}"
        share = 100 * self.rows_deleted / self.rows_before
        return (
            f"{self.rows_deleted:,} of {self.rows_before:,} rows of {self.table}"
            f" ({share:.1f} %) would be deleted"
            + (", since they refer to deleted rows" if self.receiver_only else "")
        )


def suspicious(deletions: Sequence[Deletion], percent: int) -> tuple[Deletion, ...]:
    """Return the deletions that need an operator's approval.

    Args:
        percent: Share of a table of more than 1,000 rows that may be deleted without approval; 100
            allows everything.
    """
    if percent >= SWITCHED_OFF:
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
    """Return whether the delete guard parked an archive."""
    if archive.state is not SpoolState.PARKED:
        return False
    return Rejection.read(archive).code == DeleteGuardError.code


ALLOW = "ar-sync allow"
"""Command that lets an archive through."""


def guard_error(name: str, found: Sequence[Deletion]) -> DeleteGuardError:
    """Return the error with which an archive is parked for its deletions."""
    return DeleteGuardError(
        f"{name} is kept from loading: {'; '.join(map(str, found))}",
        remedy=remedy_of_guard(name),
    )


def remedy_of_guard(name: str) -> str:
    """Return the remedy of an archive that the guard keeps, which names the archive."""
    return (
        f"if the sender really deleted them, run `{ALLOW} {name}` at the receiver;"
        " `ar-sync plan` shows all that the load would do"
    )
