"""The newest archive of the spool, by which the sender is judged.

After a sender's clock was ahead, archives from that time have the latest dates. They say nothing
of the sender as it is now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.clock import CLOCK_TOLERANCE, from_epoch, not_ahead
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.spool.states import SpooledArchive, list_applied, list_parked, list_waiting

# The sender dates an archive a microsecond after the one before if its clock was set back.
_TICKS = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Arrival:
    """The archive that arrived last.

    Attributes:
        at: When its file was written, by the machine's clock.
        follows_another: Whether it is dated by the archive before it, since the sender's clock was
            set back.
    """

    name: ArchiveName
    at: datetime
    follows_another: bool


def newest_in_spool(
    spool: Path,
    kind: ArchiveKind | None = None,
    ledger: Sequence[AppliedArchive] = (),
    now: datetime | None = None,
) -> Manifest | None:
    """Return the manifest of the sender's newest archive, in whatever state; None without one.

    Args:
        kind: Kind of the archive; None: any.
        ledger: See `newest_manifest`.
        now: See `newest_manifest`.
    """
    archives = [*list_parked(spool), *list_waiting(spool), *list_applied(spool)]
    of_kind = [one for one in archives if kind in {None, one.name.kind}]
    return newest_manifest(of_kind, ledger, now)


def newest_manifest(
    archives: Iterable[SpooledArchive],
    ledger: Sequence[AppliedArchive] = (),
    now: datetime | None = None,
) -> Manifest | None:
    """Return the manifest of the newest readable archive; loads report unreadable ones.

    Superseded archives do not count; those dated in the future do if there is no other.

    Args:
        ledger: What is applied and superseded, as far as known.
        now: Current time; None: unknown.
    """
    dated = [*([now] if now else []), *(line.snapshot_at for line in not_superseded(ledger))]
    limit = max(dated) + CLOCK_TOLERANCE if now else None
    for archive in sorted(
        _that_count(archives, ledger),
        key=lambda one: (limit is None or one.name.snapshot_at <= limit, one.name.snapshot_at),
        reverse=True,
    ):
        try:
            with open_archive(archive.path) as reader:
                return reader.manifest
        except ArSyncError:
            continue
    return None


def not_superseded(ledger: Iterable[AppliedArchive]) -> list[AppliedArchive]:
    """Return the lines of archives that were loaded and not replaced."""
    return [line for line in ledger if not line.superseded]


def last_arrival(spool: Path, ledger: Sequence[AppliedArchive], now: datetime) -> Arrival | None:
    """Return which waiting or applied archive arrived last.

    Superseded ones do not count, nor do those that came while this machine's clock was ahead.
    """
    archives = _that_count([*list_waiting(spool), *list_applied(spool)], ledger)
    try:
        arrived = [(from_epoch(one.path.stat().st_mtime), one.name) for one in archives]
    except OSError:
        return None  # a load has renamed one
    possible = [(at, name) for at, name in arrived if not_ahead([at], now)]
    if not possible:
        return None
    at, last = max(possible, key=lambda one: (one[0], one[1].snapshot_at))
    before = (last.snapshot_at - name.snapshot_at for _, name in arrived)
    follows_another = any(timedelta() < since <= _TICKS for since in before)
    return Arrival(last, at, follows_another)


def _that_count(
    archives: Iterable[SpooledArchive], ledger: Iterable[AppliedArchive]
) -> list[SpooledArchive]:
    superseded = {line.name for line in ledger if line.superseded}
    return [one for one in archives if one.name.applied not in superseded]
