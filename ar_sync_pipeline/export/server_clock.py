"""The clock of the database's server, compared with a clock of this machine that nobody sets.

The rows of a table that is too large for the watermark are found by the times that the application
writes. Rows of a clock that was set back are older than the snapshot before them. How far a clock
was set back, its own time does not show: a dump reads both clocks, and the difference does.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ar_sync_pipeline.clock import boot_id, time_since_boot
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import SchemaError

_CLOCK = "SELECT clock_timestamp(), pg_postmaster_start_time()"


class ClockReading(BaseModel):
    """Both clocks, as a dump read them before and after it took its snapshot.

    A clock that is set back, is slow or stands still moves the boot of this machine to an earlier
    time of that clock.

    Attributes:
        boot_id: Boot of this machine.
        server_started_at: Start of the database server, whose clock may be wrong until then.
        since_boot: Time since the boot.
        latest_boot: Time of the boot by the database's clock, or later.
        earliest_boot: Time of the boot by the database's clock, or earlier.
    """

    model_config = ConfigDict(frozen=True)

    boot_id: str
    server_started_at: AwareDatetime
    since_boot: timedelta
    latest_boot: AwareDatetime
    earliest_boot: AwareDatetime

    @classmethod
    def take(cls, connection: Connection) -> Self:
        """Read both clocks."""
        before = time_since_boot()
        row = connection.execute(_CLOCK).fetchone()
        after = time_since_boot()
        if row is None:
            raise SchemaError(
                "the server did not tell its time", remedy="use PostgreSQL 14 or later"
            )
        return cls(
            boot_id=boot_id(),
            server_started_at=row[1],
            since_boot=before,
            latest_boot=row[0] - before,
            earliest_boot=row[0] - after,
        )

    def until(self, connection: Connection) -> Self:
        """Read both clocks again: what happened between the two readings counts on both sides."""
        again = self.take(connection)
        return self.model_copy(
            update={
                "latest_boot": max(self.latest_boot, again.latest_boot),
                "earliest_boot": min(self.earliest_boot, again.earliest_boot),
            }
        )

    def has_starts_of(self, other: ClockReading) -> bool:
        """Return whether neither this machine nor the server has started between two readings.

        On a machine whose boots have no ids it is unknown.
        """
        starts = (self.boot_id, self.server_started_at)
        return self.boot_id != "" and starts == (other.boot_id, other.server_started_at)

    def precedes(self, other: ClockReading) -> bool:
        """Return whether it was read before another one, and neither has started in between."""
        return self.has_starts_of(other) and self.since_boot <= other.since_boot


def longest_set_back(
    since: ClockReading, later: Iterable[ClockReading], now: ClockReading
) -> timedelta | None:
    """Return how far the database's clock went back between two readings, at most.

    A clock that was set back and right again between two dumps is not noticed. While the hypervisor
    pauses this machine, its steady clock stands still, so that it is noticed by so much less.

    Args:
        later: Other readings; those between the two count.

    Returns:
        None: it is unknown, because this machine or the server has started in between.
    """
    if not since.precedes(now):
        return None
    between = [one for one in later if since.precedes(one) and one.precedes(now)]
    earliest = min(one.earliest_boot for one in (*between, now))
    return max(timedelta(), since.latest_boot - earliest)
