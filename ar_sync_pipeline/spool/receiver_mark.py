"""Signs of life of the receivers that load from a spool, which should have only one.

Only receivers read the file; an earlier version writes none.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from pydantic import Field

from ar_sync_pipeline.archive.manifest_fields import Instant, Label, Strict
from ar_sync_pipeline.clock import CLOCK_TOLERANCE
from ar_sync_pipeline.spool.receiver_files import ReceiverFile

ALIVE_FOR = timedelta(minutes=10)
"""Time without a sign after which a receiver no longer counts."""


class SignOfLife(Strict):
    """When a receiver gave the first of uninterrupted signs, and the last one."""

    since: Instant
    at: Instant


class ReceiverMark(ReceiverFile):
    """The receivers, by database, that have applied archives and gave a sign lately."""

    FILE: ClassVar[str] = "receiver.json"

    receivers: dict[Label, SignOfLife] = Field(default_factory=dict)

    def alive(self, now: datetime) -> dict[str, SignOfLife]:
        """Return the signs that are not too old."""
        found = self.receivers.items()
        return {of: one for of, one in found if -CLOCK_TOLERANCE <= now - one.at <= ALIVE_FOR}
