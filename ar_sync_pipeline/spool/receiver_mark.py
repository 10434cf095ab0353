"""Mark of the database into which the archives of a spool are loaded.

Two receivers on one spool would take each other's archives and answer the sender in turn. Only
receivers read the mark; an earlier version writes none.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from ar_sync_pipeline.archive.manifest_fields import Instant, Label
from ar_sync_pipeline.clock import CLOCK_TOLERANCE
from ar_sync_pipeline.spool.receiver_files import ReceiverFile


class ReceiverMark(ReceiverFile):
    """The receiver that wrote the last checkpoint; the mark is written with it.

    Attributes:
        at: Time of the checkpoint.
        system_identifier: System identifier of the cluster of the receiver's database.
        database: Name of the receiver's database.
    """

    FILE: ClassVar[str] = "receiver.json"

    at: Instant
    system_identifier: Label
    database: Label

    def is_recent(self, now: datetime, limit: timedelta) -> bool:
        """Return whether that receiver has written its checkpoint within a time limit."""
        return -CLOCK_TOLERANCE <= now - self.at <= limit
