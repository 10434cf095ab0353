"""Retention: which archives may be deleted, a pure function of spool, ledger, policy and clock.

The old system deleted archives by ctime, loaded or not (D32). Here the age of an archive counts
from the time when the ledger recorded it as applied, or from its snapshot if that time is in the
future; an archive unknown to the ledger is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.clock import CLOCK_TOLERANCE
from ar_sync_pipeline.spool.errors import access_to
from ar_sync_pipeline.spool.layout import folder_of
from ar_sync_pipeline.spool.states import SpooledArchive, SpoolState

_PARTIAL_LIFETIME = timedelta(days=1)


@dataclass(frozen=True)
class RetentionPolicy:
    """Lifetime of applied archives.

    Attributes:
        complete_lifetime: Lifetime of completes, ``AR_SYNC_BKPS_LIFETIME`` days.
    """

    complete_lifetime: timedelta

    def lifetime(self, kind: ArchiveKind) -> timedelta:
        """Return how long an archive of a kind is kept after it was applied."""
        return self.complete_lifetime if kind is ArchiveKind.COMPLETE else _PARTIAL_LIFETIME


@dataclass(frozen=True)
class Decision:
    """Decision to keep or delete one archive, with the reason in words for an operator."""

    archive: SpooledArchive
    keep: bool
    reason: str


def plan_retention(
    archives: Iterable[SpooledArchive],
    ledger: Mapping[ArchiveName, datetime],
    policy: RetentionPolicy,
    now: datetime,
    superseded: Collection[ArchiveName] = (),
) -> list[Decision]:
    """Decide for every archive, in the given order.

    Never deleted: an archive that is not applied; the newest applied complete in the spool; a
    partial with a later snapshot than that complete, unless it is superseded. The receiver can
    always be rebuilt from these.

    Args:
        archives: Archives in any state.
        ledger: Time when each applied or superseded archive was applied.
        now: Current time, aware UTC.
        superseded: Archives in the ledger of which nothing was loaded, or which others replaced.
            They are no base, and may be dated in the future by a clock that was ahead.
    """
    found = list(archives)
    base_at = max(
        (
            archive.name.snapshot_at
            for archive in found
            if archive.name.kind is ArchiveKind.COMPLETE
            and _is_applied(archive, ledger)
            and archive.name not in superseded
        ),
        default=None,
    )
    return [
        (None if archive.name in superseded else _why_needed(archive, ledger, base_at))
        or _decide(archive, ledger, policy, now)
        for archive in found
    ]


def _why_needed(
    archive: SpooledArchive, ledger: Mapping[ArchiveName, datetime], base_at: datetime | None
) -> Decision | None:
    name = archive.name
    if not _is_applied(archive, ledger):
        return None
    if name.kind is ArchiveKind.COMPLETE and name.snapshot_at == base_at:
        return Decision(archive, True, "it is the newest applied complete")
    if name.kind is ArchiveKind.PARTIAL and (base_at is None or name.snapshot_at > base_at):
        return Decision(archive, True, "it is later than the newest applied complete")
    return None


def _decide(
    archive: SpooledArchive,
    ledger: Mapping[ArchiveName, datetime],
    policy: RetentionPolicy,
    now: datetime,
) -> Decision:
    if not _is_applied(archive, ledger):
        return Decision(archive, True, _why_not_applied(archive, ledger))
    name = archive.name
    ahead = ledger[name] > now + CLOCK_TOLERANCE  # the clock was
    age = now - (name.snapshot_at if ahead else ledger[name])
    lifetime = policy.lifetime(name.kind)
    if age <= lifetime:
        return Decision(archive, True, f"it was applied less than {_days(lifetime)} ago")
    return Decision(archive, False, f"it was applied more than {_days(lifetime)} ago")


def _why_not_applied(archive: SpooledArchive, ledger: Mapping[ArchiveName, datetime]) -> str:
    if archive.state is SpoolState.APPLIED:
        return "the ledger does not record it as applied"
    if archive.state is SpoolState.WAITING and archive.name in ledger:
        return "it is applied, and the next load renames it"
    return f"it is {archive.state}, not applied"


def apply_retention(decisions: Sequence[Decision]) -> int:
    """Delete the archives to delete, and only files that still have an applied name.

    Returns:
        Bytes freed.

    Raises:
        SpoolAccessError: The operating system refuses.
    """
    freed_bytes = 0
    for decision in decisions:
        archive = decision.archive
        if decision.keep or archive.path.name != archive.name.applied:
            continue
        with folder_of(archive.path) as folder, access_to(archive.path):
            if folder.remove(archive.path.name):
                freed_bytes += archive.size_bytes
                folder.sync()
    return freed_bytes


def _is_applied(archive: SpooledArchive, ledger: Mapping[ArchiveName, datetime]) -> bool:
    return archive.state is SpoolState.APPLIED and archive.name in ledger


def _days(lifetime: timedelta) -> str:
    return "1 day" if lifetime.days == 1 else f"{lifetime.days} days"
