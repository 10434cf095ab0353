"""The receiver's report that a load is at work: no archive is acknowledged before it ends.

The transform after a load counts too: no other load begins before it ends. An earlier receiver
writes no such file.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from ar_sync_pipeline.archive.manifest_fields import Instant
from ar_sync_pipeline.clock import CLOCK_TOLERANCE
from ar_sync_pipeline.spool.receiver_files import ReceiverFile

# The receiver's daemon writes it every minute, and may be busy.
_RECENT = timedelta(minutes=5)


class LoadAtWork(ReceiverFile):
    """A load that is at work.

    Attributes:
        at: Time at which it was last seen at work, by the receiver's clock.
    """

    FILE: ClassVar[str] = "load_at_work.json"

    at: Instant

    def is_recent(self, now: datetime) -> bool:
        """Return whether the load may still be at work."""
        return -CLOCK_TOLERANCE <= now - self.at <= _RECENT + CLOCK_TOLERANCE
