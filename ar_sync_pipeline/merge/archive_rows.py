"""The input of a merge: a staged archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ar_sync_pipeline.merge.filling import Filling
from ar_sync_pipeline.merge.staging import StagedTable


@dataclass(frozen=True)
class ArchiveRows:
    """A staged archive and what the merge must know of it.

    Attributes:
        tables: Tables of the archive with their staged rows.
        number: Number of the archive within the load, for names of temporary tables.
        complete: Whether the archive contains all rows of its tables.
        after_gap: Whether archives before this one are missing. A receiver row that has a unique
            value of one of its rows may then still exist at the sender, so it is not deleted.
        comparable: Whether this receiver computes the same digests as the sender.
        sender_references: Foreign keys of the sender, as `reference_definitions`; None: unknown.
        rebuilds: Whether indexes and foreign keys of empty tables may be created after their rows.
        filling: What was already dropped from empty tables; None: nothing so far.
        truncated_times: Whether its times have lost their microseconds, as in the old system.
        uncovered: Tables of which a partial may lack changes; None: unknown.
    """

    tables: Sequence[StagedTable]
    number: int
    complete: bool
    after_gap: bool
    comparable: bool
    sender_references: frozenset[str] | None = None
    rebuilds: bool = True
    filling: Filling | None = None
    truncated_times: bool = False
    uncovered: frozenset[str] | None = None

    def has_every_change(self, table: str) -> bool:
        """Return whether the receiver's rows of a table that it lacks are unchanged or deleted."""
        for staged in self.tables:
            if staged.target.name == table:
                covers = staged.manifest.covers_since and not self.after_gap
                return staged.complete or staged.manifest.whole or covers
        known = self.uncovered is not None and table not in self.uncovered
        return known and not self.after_gap

    def keeping_absent_rows(self) -> ArchiveRows:
        """Return a copy that leaves rows of tables with a key that it carries whole and lacks."""
        tables = [
            replace(staged, keeps_absent=bool(staged.manifest.whole and staged.target.key))
            for staged in self.tables
        ]
        return replace(self, tables=tables)
