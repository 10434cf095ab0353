"""Checkpoint of the receiver: the point up to which it has the sender's data, in one small file.

The receiver derives it from the ledger and writes it to ``receipts/`` after each change of state.
The sender reads it over SFTP: its next partial contains every change since this point.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.manifest_fields import Instant
from ar_sync_pipeline.spool.receiver_files import ReceiverFile

MOST_PARKED = 20
MOST_UNVERIFIED = 5
MOST_UNSENT = 5
_Count = Annotated[int, Field(ge=0, lt=2**31)]
_Table = Annotated[str, StringConstraints(max_length=130)]


class ParkedArchive(BaseModel):
    """A parked archive and its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    archive: Annotated[str, StringConstraints(max_length=200)]
    reason: Annotated[str, StringConstraints(max_length=1000)]


class Checkpoint(ReceiverFile):
    """State of the receiver.

    Attributes:
        at: Time when the checkpoint was written.
        watermark: Snapshot at the end of the unbroken chain of applied archives; None while no
            complete has been applied.
        gaps: Number of known gaps after the watermark, ``holes`` in the file.
        waiting: Number of archives that are not applied yet.
        parked: Parked archives, oldest first, at most `MOST_PARKED`.
        quarantined: Number of quarantined archives.
        unverified: Tables whose rows DDL at the receiver has changed, until a complete is applied;
            at most `MOST_UNVERIFIED`.
        more_unverified: Number of further such tables.
        more_parked: Number of further parked archives.
        unsent: Replicated tables with rows that the sender no longer sends; at most `MOST_UNSENT`.
    """

    FILE: ClassVar[str] = "position.json"
    ADDED_LATER: ClassVar[frozenset[str]] = frozenset(
        {"unverified", "more_unverified", "more_parked", "unsent"}
    )

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    at: Instant
    watermark: Watermark | None = None
    gaps: _Count = Field(default=0, alias="holes")
    waiting: _Count = 0
    parked: Annotated[tuple[ParkedArchive, ...], Field(max_length=MOST_PARKED)] = ()
    quarantined: _Count = 0
    unverified: Annotated[tuple[_Table, ...], Field(max_length=MOST_UNVERIFIED)] = ()
    more_unverified: _Count = 0
    more_parked: _Count = 0
    unsent: Annotated[tuple[_Table, ...], Field(max_length=MOST_UNSENT)] = ()

    @property
    def reached_at(self) -> datetime | None:
        """Time of the snapshot up to which the receiver has everything; None: of none."""
        return self.watermark.snapshot_at if self.watermark else None
