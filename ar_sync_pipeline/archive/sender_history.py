"""Where an archive is in the history of its sender: database, window and watermark."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from ar_sync_pipeline.archive.manifest_fields import Instant, Label, Strict


class SenderIdentity(Strict):
    """Database that an archive comes from.

    Attributes:
        system_identifier: Identifier of the PostgreSQL cluster, from ``pg_control_system()``.
        database: Name of the database.
        name: Stable name of the sender, set by the operator.
    """

    system_identifier: Label
    database: Label
    name: Label


class Window(Strict):
    """A half-open interval ``[start, end)`` of ``changed_at`` time, aware UTC."""

    start: Instant
    end: Instant

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start >= self.end:
            raise ValueError("a window must end after it starts")
        return self


# The text of a snapshot with some 1,500 writing transactions, in a position of 64 KiB at most.
LONGEST_SNAPSHOT = 20_000


class Watermark(Strict):
    """A point in the history of the sender; the spans of archives join at watermarks.

    Attributes:
        archive_id: Id of the archive that was read under this snapshot; None before it is known.
        snapshot_at: Time of the snapshot.
        snapshot: Text of the PostgreSQL snapshot, ``xmin:xmax:xip,...``.
        system_identifier: Identifier of the cluster that the transaction ids belong to.
        timeline: Timeline of the cluster, which changes with a failover.
        oldest_write_at: Start of the oldest transaction that the snapshot could not see, or
            earlier, by the clock of the database. None: the role of the sender may not see other
            transactions (it is not a member of ``pg_read_all_stats``), or one of them did not show
            when it began (``track_activities = off``).
        lsn: Flush position of the write-ahead log in bytes; it only grows within one history.
        traces: Transaction ids that the dump consumed just before, each with its outcome:
            committed (``c``) or aborted (``a``). They show another history of the same cluster.
    """

    archive_id: UUID | None = None
    snapshot_at: Instant
    # Both databases compare ids and positions as bigint, which bounds them.
    snapshot: Annotated[
        str,
        StringConstraints(
            pattern=r"^[0-9]{1,19}:[0-9]{1,19}:([0-9]{1,19}(,[0-9]{1,19})*)?$",
            max_length=LONGEST_SNAPSHOT,
        ),
    ]
    # Letters occur in archives of the old system, which knew no cluster.
    system_identifier: Annotated[str, StringConstraints(pattern=r"^[0-9a-z-]{1,20}$")]
    timeline: Annotated[int, Field(ge=0, lt=2**32)]
    oldest_write_at: Instant | None = None
    lsn: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    traces: Annotated[
        str | None,
        StringConstraints(pattern=r"^[0-9]{1,19}[ca](,[0-9]{1,19}[ca])*$", max_length=1000),
    ] = None

    @model_validator(mode="after")
    def _possible_ids(self) -> Self:
        """Check the order of the ids as in PostgreSQL's ``pg_snapshot`` (manual, 9.27.8)."""
        oldest, newest, listed = self.snapshot.split(":")
        running = [int(number) for number in listed.split(",") if number]
        if not int(oldest) <= int(newest) < 2**63:
            raise ValueError("a snapshot ends before it starts, or beyond every transaction id")
        ascending = [int(oldest) - 1, *running, int(newest)]
        if running and any(one >= other for one, other in pairwise(ascending)):
            raise ValueError("a snapshot lists its transactions in order, between its ends")
        if any(int(trace[:-1]) >= 2**63 for trace in (self.traces or "").split(",") if trace):
            raise ValueError("a trace is beyond every transaction id")
        return self
