"""Signs of life of the databases into which the archives of a spool are loaded.

A spool has one receiver: two would take each other's archives and answer the sender in turn. Only
receivers read the file; an earlier version writes none.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from ar_sync_pipeline.archive.manifest_fields import Instant, Label, Strict
from ar_sync_pipeline.clock import CLOCK_TOLERANCE
from ar_sync_pipeline.postgres.own_database import OwnDatabase
from ar_sync_pipeline.spool.receiver_files import ReceiverFile

RENEWED_AFTER = timedelta(minutes=2)
ALIVE_FOR = timedelta(minutes=10)
"""Time without a sign after which a receiver no longer counts as one that uses the spool."""


class SignOfLife(Strict):
    """One receiver.

    Attributes:
        system_identifier, timeline, database: Its database.
        since: Time of the first of uninterrupted signs.
        at: Time of the last one.
    """

    system_identifier: Label
    timeline: int | None
    database: Label
    since: Instant
    at: Instant

    def is_of(self, here: OwnDatabase) -> bool:
        """Return whether a database gave this sign."""
        own = (here.system_identifier, here.timeline, here.database)
        return (self.system_identifier, self.timeline, self.database) == own


class ReceiverMark(ReceiverFile):
    """The receivers that have applied archives of this spool and gave a sign lately."""

    FILE: ClassVar[str] = "receiver.json"

    receivers: tuple[SignOfLife, ...] = ()

    def alive(self, now: datetime) -> list[SignOfLife]:
        """Return the signs that are not too old."""
        return [one for one in self.receivers if -CLOCK_TOLERANCE <= now - one.at <= ALIVE_FOR]
