"""The input of a merge: a staged archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
