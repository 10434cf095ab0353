"""Dates that cannot be right: a clock was wrong when an archive was made.

Archives are ordered by the times of their snapshots, which the sender's clock gives. Positions in
its write-ahead log and transaction ids show which of two snapshots really came first, within one
history of one cluster. A cluster that was restored from an older copy uses both again. Its first
archive is marked (``new_history``) and begins a new history, whose archives are compared only with
each other. A failover begins one too, and so may a return to the old primary. Of archives of two
histories, one that had arrived, dated ahead, when the other was made comes before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from uuid import UUID

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.clock import CLOCK_TOLERANCE
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.sync.errors import FutureArchiveError, SetBackError

# A sender whose clock was set back dates its archives a microsecond after the newest one.
_TICKS = timedelta(seconds=1)
# Two simultaneous dumps may be dated in reverse order.
_SIDE_BY_SIDE = timedelta(minutes=1)
# By no more than between the snapshot and its date, if the later one was applied meanwhile.
_DATING = timedelta(seconds=5)
# No clock is wrong for so long that this much is written; a larger difference is forged.
_MOST_WAL_BYTES = 2**43
_MOST_IDS = 2**31


@dataclass(frozen=True)
class SnapshotMark:
    """Point of a snapshot in the history of a cluster.

    Attributes:
        history: Cluster, its timeline, and which of its histories (`Histories`).
        xmax: First transaction id that was not used yet; each dump uses some.
        lsn: Written position in the write-ahead log, which may be that of the dump before; None in
            archives of the old system.
        arrived_at: When the file had arrived, by the receiver's clock; None: unknown.
        applied_at: When it was applied; None: it is not.
    """

    snapshot_at: datetime
    history: tuple[str, int, UUID | None]
    xmax: int
    lsn: int | None
    arrived_at: datetime | None = None
    applied_at: datetime | None = None

    def came_before(self, other: SnapshotMark) -> bool:
        """Return whether it was taken earlier than another one, and is dated later."""
        dated_later = self.snapshot_at > other.snapshot_at + _SIDE_BY_SIDE
        return dated_later and (self._precedes(other) or self._arrived_before(other))

    def contradicts(self, other: SnapshotMark, now: datetime) -> bool:
        """Return whether it came after another one was applied, and is of an earlier state.

        The sender's database was set back, unless its clock was ahead when it was made: that is
        known of an archive that arrived before its date only.
        """
        return (
            self.arrived_at is not None
            and other.applied_at is not None
            and other.applied_at < self.arrived_at <= now + CLOCK_TOLERANCE
            and not self._is_dated_ahead()
            and self.snapshot_at > other.snapshot_at + _DATING
            and self._has_less_than(other)
        )

    def _has_less_than(self, other: SnapshotMark) -> bool:
        """Return whether its cluster had written less, or used fewer ids, in the same history."""
        if self.history != other.history or self.lsn is None or other.lsn is None:
            return False
        return 0 < other.lsn - self.lsn < _MOST_WAL_BYTES or 0 < other.xmax - self.xmax < _MOST_IDS

    def _arrived_before(self, other: SnapshotMark) -> bool:
        """Return whether it was here, dated ahead, when one of another history was made.

        Timelines do not tell: the sender may go back to a primary that was never rewound. If both
        arrived dated ahead, the receiver's clock was behind, and their dates are right.
        """
        return (
            self.history != other.history
            and self.arrived_at is not None
            and self.arrived_at < other.snapshot_at
            and self._is_dated_ahead()
            and not other._is_dated_ahead()
        )

    def _is_dated_ahead(self) -> bool:
        arrived_at = self.arrived_at
        return arrived_at is not None and arrived_at + CLOCK_TOLERANCE < self.snapshot_at

    def _precedes(self, other: SnapshotMark) -> bool:
        return (
            self.history == other.history
            and self.lsn is not None
            and other.lsn is not None
            and 0 <= other.lsn - self.lsn < _MOST_WAL_BYTES
            and 0 <= other.xmax - self.xmax < _MOST_IDS
            and (self.lsn, self.xmax) != (other.lsn, other.xmax)
        )


@dataclass(frozen=True)
class Histories:
    """Histories of archives; positions are comparable only within one.

    The first archive of a history identifies it.

    Attributes:
        ledger: Applied archives.
        at_hand: Archives that are not applied yet.
        waiting: Called for all others that wait, if archives at hand may continue them.
        arrived: When the files of those at hand had arrived, by the receiver's clock.
    """

    ledger: Sequence[AppliedArchive]
    at_hand: Mapping[UUID, Manifest]
    waiting: Callable[[], Mapping[UUID, Manifest]]
    arrived: Mapping[UUID, datetime] = field(default_factory=dict)

    def of(self, manifest: Manifest) -> UUID | None:
        """Return the first archive of a history that is not the sender's first; else None.

        An archive continues the history of the point that it starts from. If it starts from none,
        or from one that never arrived, it continues the history of the newest applied archive.
        """
        if manifest.archive_id in self._known:
            return self._known[manifest.archive_id]
        first = self._first(manifest)
        since = first.since.archive_id if first.since else None
        found = self._known.get(since, self._current) if since else self._current
        return first.archive_id if first.new_history else found

    def is_certain(self, manifest: Manifest) -> bool:
        """Return whether an archive continues nothing that never arrived."""
        first = self._first(manifest)
        since = first.since.archive_id if first.since else None
        return first.new_history or since is None or since in self._known

    def _first(self, manifest: Manifest) -> Manifest:
        """Return the first archive, of those that are not applied, that an archive continues."""
        seen = set[UUID]()
        while not manifest.new_history and manifest.archive_id not in seen:
            if manifest.archive_id in self._firsts:
                manifest = self._firsts[manifest.archive_id]
                break
            seen.add(manifest.archive_id)
            since = manifest.since.archive_id if manifest.since else None
            if since is None or since in self._known:
                break
            manifest = self.at_hand.get(since) or self.waiting().get(since) or manifest
        # A backlog of days has thousands, and each continues the one before it.
        self._firsts.update(dict.fromkeys(seen, manifest))
        return manifest

    @cached_property
    def _firsts(self) -> dict[UUID, Manifest]:
        """The first archives that are known already, by the id of what continues them."""
        return {}

    @cached_property
    def _known(self) -> dict[UUID, UUID | None]:
        return {line.archive_id: line.history for line in self.ledger}

    @cached_property
    def _current(self) -> UUID | None:
        applied = [line for line in self.ledger if not line.superseded]
        newest = max(applied, key=lambda line: line.applied_at, default=None)
        return newest.history if newest else None

    def mark(self, manifest: Manifest) -> SnapshotMark:
        """Return the snapshot mark of an archive."""
        mark = manifest.watermark
        history = (mark.system_identifier, mark.timeline, self.of(manifest))
        xmax = int(mark.snapshot.split(":")[1])
        arrived_at = self.arrived.get(manifest.archive_id)
        return SnapshotMark(mark.snapshot_at, history, xmax, mark.lsn, arrived_at)

    @cached_property
    def applied(self) -> dict[UUID, SnapshotMark]:
        """Snapshot marks, by archive id, of the archives that the receiver has applied."""
        return {
            line.archive_id: SnapshotMark(
                line.snapshot_at,
                (line.system_identifier, line.timeline, line.history),
                line.xmax,
                line.lsn,
                applied_at=line.applied_at,
            )
            for line in self.ledger
            if not line.superseded
        }


def is_overtaken(mark: SnapshotMark, others: Iterable[SnapshotMark]) -> bool:
    """Return whether another archive was made after this one, although it is dated earlier.

    If this archive were applied after the other one, readers would see an older state.
    """
    return any(mark.came_before(other) for other in others)


def check_date(
    manifest: Manifest, histories: Histories, now: datetime, arrived_at: datetime
) -> None:
    """Check that an archive is not dated in the future, unless another one has overtaken it.

    An archive dated shortly after an applied one is accepted too: both clocks were wrong.

    Args:
        arrived_at: When its file had arrived, by the receiver's clock.

    Raises:
        FutureArchiveError: The clock of the sender or that of the receiver is wrong.
    """
    applied = histories.applied.values()
    newest = max((mark.snapshot_at for mark in applied), default=now)
    limit = max(now + CLOCK_TOLERANCE, newest + _TICKS)
    dated = max(manifest.snapshot_at, manifest.window.end if manifest.window else now)
    mark = replace(histories.mark(manifest), arrived_at=arrived_at)
    if dated <= limit or is_overtaken(mark, applied):
        return
    raise FutureArchiveError(
        f"{manifest.name.applied} is dated {dated:%Y-%m-%d %H:%M:%S} UTC, and the receiver's clock"
        f" shows {now:%Y-%m-%d %H:%M:%S}",
        remedy="set the clock that is wrong; the archive is loaded by itself when its time has"
        " come, unless a newer one has been loaded by then",
    )


def check_not_set_back(
    manifest: Manifest, histories: Histories, now: datetime, arrived_at: datetime
) -> None:
    """Check that an archive that came after applied ones was made after them.

    One that another archive has overtaken for certain is superseded. One that continues what never
    arrived may be of a history that the receiver does not know.

    Args:
        arrived_at: When its file had arrived, by the receiver's clock.

    Raises:
        SetBackError: It is of an earlier state, although it is dated after them.
    """
    if any(line.archive_id == manifest.archive_id for line in histories.ledger):
        return
    mark = replace(histories.mark(manifest), arrived_at=arrived_at)
    applied = histories.applied
    contradicted = [one for one, other in applied.items() if mark.contradicts(other, now)]
    others = (other for one, other in applied.items() if one not in contradicted)
    if not contradicted or is_overtaken(mark, others) or not histories.is_certain(manifest):
        return
    names = [line.name for line in histories.ledger if line.archive_id in contradicted]
    raise SetBackError(manifest.name.applied, names[-1])
