"""Dates that cannot be right: a clock was wrong when an archive was made.

Archives are ordered by the instants of their snapshots, which the sender's clock gives. Positions
in its write-ahead log and transaction ids tell which of two snapshots really came first, in one
history of one cluster. A cluster that was restored from an older copy uses both again; its dumps
start from no known point (``since``) then, and such an archive is believed as long as its date may
be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.sync.errors import FutureArchiveError

CLOCK_TOLERANCE = timedelta(minutes=5)
# A sender whose clock was set back dates its archives a microsecond after the newest one.
_TICKS = timedelta(seconds=1)
# Two dumps at the same time may be dated the other way round.
_SIDE_BY_SIDE = timedelta(minutes=1)


@dataclass(frozen=True)
class SnapshotMark:
    """A snapshot in the history of a cluster.

    Attributes:
        history: the cluster and its timeline.
        xmax: the first transaction id that was not used yet; each dump uses up some.
        lsn: the written position in the write-ahead log, which may be that of the dump before; None
            in archives of the old system.
    """

    snapshot_at: datetime
    history: tuple[str, int]
    xmax: int
    lsn: int | None

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The snapshot of an archive."""
        mark = manifest.watermark
        xmax = int(mark.snapshot.split(":")[1])
        return cls(mark.snapshot_at, (mark.system_identifier, mark.timeline), xmax, mark.lsn)

    def came_before(self, other: SnapshotMark) -> bool:
        """Whether it was taken earlier than another one, and is dated later."""
        return (
            self.history == other.history
            and self.lsn is not None
            and other.lsn is not None
            and self.lsn <= other.lsn
            and self.xmax <= other.xmax
            and (self.lsn, self.xmax) != (other.lsn, other.xmax)
            and self.snapshot_at > other.snapshot_at + _SIDE_BY_SIDE
        )


def applied_marks(ledger: Iterable[AppliedArchive]) -> list[SnapshotMark]:
    """The snapshots of the archives that the receiver has applied."""
    return [
        SnapshotMark(line.snapshot_at, (line.system_identifier, line.timeline), line.xmax, line.lsn)
        for line in ledger
        if not line.superseded
    ]


def is_overtaken(manifest: Manifest, others: Iterable[SnapshotMark], now: datetime) -> bool:
    """Whether another archive was made later than this one, although it is dated earlier.

    Applied after that one, this one would take readers back in time.
    """
    if manifest.since is None and manifest.snapshot_at <= now + CLOCK_TOLERANCE:
        return False
    mark = SnapshotMark.of(manifest)
    return any(mark.came_before(other) for other in others)


def check_date(manifest: Manifest, ledger: Sequence[AppliedArchive], now: datetime) -> None:
    """Accept an archive that is not dated in the future, or that another one has overtaken.

    An archive that follows an applied one by an instant is accepted too: both clocks were wrong.

    Raises:
        FutureArchiveError: the clock of the sender or that of the receiver is wrong.
    """
    marks = applied_marks(ledger)
    newest = max((mark.snapshot_at for mark in marks), default=now)
    if manifest.snapshot_at <= max(now + CLOCK_TOLERANCE, newest + _TICKS):
        return
    if not is_overtaken(manifest, marks, now):
        raise FutureArchiveError(
            f"{manifest.name.applied} is dated {manifest.snapshot_at:%Y-%m-%d %H:%M:%S} UTC, and"
            f" the receiver's clock shows {now:%Y-%m-%d %H:%M:%S}",
            remedy="set the clock that is wrong; the archive is loaded by itself when its time has"
            " come, unless a newer one has been loaded by then",
        )
