"""Archives that have vanished from the spool before they were applied.

Nothing in the spool tells of them: without this the data would only grow old, or, without a
complete, stay unrepaired until the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.archive.spool_names import RECEIPTS
from ar_sync_pipeline.clock import CLOCK_TOLERANCE
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.seen_archives import newest_archives, read_seen, write_seen
from ar_sync_pipeline.spool.states import (
    list_applied,
    list_parked,
    list_quarantined,
    list_waiting,
)
from ar_sync_pipeline.sync.load.applied_chain import content_until, is_brought, promised_chain
from ar_sync_pipeline.sync.rejection import Rejection

_REMEDIES = {
    ArchiveKind.COMPLETE: "launch `complete_dump` at the sender, or wait for its next complete",
    ArchiveKind.PARTIAL: "no action is needed: the sender's next partial carries what it held",
}


def vanished_archives(
    settings: ReceiverSettings, ledger: Sequence[AppliedArchive], now: datetime
) -> list[Rejection]:
    """Return archives that were seen, are gone and whose content the receiver lacks.

    Completes, which need a person, come first; then the oldest. A complete that waits brings the
    content, too. Quarantined archives are a person's to remove.

    Args:
        ledger: Ledger as it was before this call: the spool keeps what is applied later.
        now: Current time. What is dated after it says nothing about the data.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses.
    """
    spool, known = settings.remote_bkp_fldr, {line.name for line in ledger}
    seen = read_seen(spool, signing_keys=settings.signing_keys.accepted(now))
    lacking = _wanted((name for name in seen if name.applied not in known), spool, ledger, now)
    # An archive that is renamed meanwhile is in none of the lists, but only once.
    for _ in range(2):
        if lacking:
            lacking -= _present(spool)
    return [_rejection(name) for name in sorted(lacking, key=_completes_first)]


def remember_archives(settings: ReceiverSettings, now: datetime) -> None:
    """Add the archives that wait or are parked to the list, unless the spool is not set up yet.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses.
    """
    spool, keys = settings.remote_bkp_fldr, settings.signing_keys.accepted(now)
    before = read_seen(spool, signing_keys=keys)
    seen = _listed(before | _not_applied(spool), now)
    if seen != before and (spool / RECEIPTS).exists():
        write_seen(spool, seen, signing_keys=keys)


def forget_archives(
    settings: ReceiverSettings, ledger: Sequence[AppliedArchive], now: datetime
) -> None:
    """Leave only archives on the list that are not applied, and vanished ones.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses.
    """
    spool, keys = settings.remote_bkp_fldr, settings.signing_keys.accepted(now)
    before, here = read_seen(spool, signing_keys=keys), _not_applied(spool)
    vanished = {one.name for one in vanished_archives(settings, ledger, now)}
    seen = _listed(here | {name for name in before if name.applied in vanished}, now)
    if seen != before:
        write_seen(spool, seen, signing_keys=keys)


def _wanted(
    names: Iterable[ArchiveName], spool: Path, ledger: Sequence[AppliedArchive], now: datetime
) -> set[ArchiveName]:
    """Return the archives that no other one has brought or brings; without data, completes."""
    chain = promised_chain(ledger)
    until = content_until(ledger, chain)
    complete = ArchiveKind.COMPLETE
    to_come = [a.name.snapshot_at for a in list_waiting(spool) if a.name.kind is complete]
    return {
        name
        for name in names
        if not is_brought(name, until)
        and _is_dated(name, now)
        and all(name.snapshot_at > snapshot_at for snapshot_at in to_come)
        and (chain is not None or name.kind is complete)
    }


def _listed(names: Iterable[ArchiveName], now: datetime) -> frozenset[ArchiveName]:
    """Return the names for the list, on which others of the future would take the places."""
    return newest_archives(name for name in names if _is_dated(name, now))


def _is_dated(name: ArchiveName, now: datetime) -> bool:
    """Return whether a name has a date that a right clock may have given it."""
    return name.snapshot_at <= now + CLOCK_TOLERANCE


def _not_applied(spool: Path) -> frozenset[ArchiveName]:
    return frozenset(archive.name for archive in (*list_waiting(spool), *list_parked(spool)))


def _present(spool: Path) -> set[ArchiveName]:
    lists = (list_waiting, list_applied, list_parked, list_quarantined)
    return {archive.name for found in lists for archive in found(spool)}


def _completes_first(name: ArchiveName) -> tuple[bool, datetime]:
    return name.kind is not ArchiveKind.COMPLETE, name.snapshot_at


def _rejection(name: ArchiveName) -> Rejection:
    problem = f"{name.applied} has vanished from the spool before it was applied"
    return Rejection(name.applied, problem, _REMEDIES[name.kind], "", waits=False)
