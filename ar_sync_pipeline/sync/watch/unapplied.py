"""Archives in the spool that are not applied: waiting, parked and quarantined ones."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.postgres.approved_archives import Approval, read_approvals
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger import AppliedArchive, read_ledger
from ar_sync_pipeline.postgres.ledger_tables import open_existing_ledger
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    SpoolState,
    list_applied,
    list_parked,
    list_quarantined,
    list_waiting,
)
from ar_sync_pipeline.sync.load.applied_chain import chain_in, content_until
from ar_sync_pipeline.sync.load.delete_guard import held_by_guard
from ar_sync_pipeline.sync.load.intakes import other_archives
from ar_sync_pipeline.sync.load.load_plan import unknown_to
from ar_sync_pipeline.sync.load.rejected_archives import is_lost
from ar_sync_pipeline.sync.rejection import Rejection
from ar_sync_pipeline.sync.watch.status import PARKED_REPLACED, REPLACED


@dataclass(frozen=True)
class UnappliedArchive:
    """An archive that the receiver has not applied.

    Attributes:
        name: Name of the archive.
        state: ``waiting``, ``parked``, ``quarantined``; or one of the latter two with ``replaced``
            if a later archive has brought its content, or the sender of the last was replaced.
        reason: Why it is not applied.
        remedy: What to do.
        since: When it was parked or quarantined; for a waiting one, when it was made.
        command: Command that shows more about the archive, or allows it; empty for an archive of
            another system, which the commands cannot read.
    """

    name: str
    state: str
    reason: str
    remedy: str
    since: datetime
    command: str


@dataclass(frozen=True)
class LedgerView:
    """Lists that are shown with the ledger.

    Attributes:
        unapplied: Archives that are not applied, oldest snapshot first.
        approvals: By archive name, who allowed it against the delete guard, and when.
    """

    unapplied: tuple[UnappliedArchive, ...]
    approvals: dict[str, Approval]


def view_ledger(settings: ReceiverSettings, parked: Sequence[Rejection] = ()) -> LedgerView:
    """Read the archives in the spool that are not applied, and the approvals.

    Args:
        parked: Why parked archives wait now, if that is known; else the reason that was written.

    Raises:
        DatabaseUnreachableError: The receiver's database cannot be reached.
        SpoolMissingError: The spool does not exist.
    """
    url = settings.database_url
    with connect(url, application="status") as connection:
        known = open_existing_ledger(connection)
        ledger = read_ledger(connection) if known else []
        approvals = read_approvals(connection) if known else {}
    return LedgerView(unapplied_archives(settings, ledger, approvals, parked), approvals)


def unapplied_archives(
    settings: ReceiverSettings,
    ledger: Sequence[AppliedArchive],
    allowed: Collection[str],
    parked: Sequence[Rejection] = (),
) -> tuple[UnappliedArchive, ...]:
    """Return every archive that waits, is parked or is quarantined.

    Args:
        parked: As of `view_ledger`.
    """
    now = {one.name: one for one in parked}
    spool, until = settings.remote_bkp_fldr, content_until(ledger, chain_in(ledger))
    found = [
        *_waiting(spool, ledger),
        *list_parked(spool),
        *list_quarantined(spool),
        *(a for a in other_archives(settings) if _is_unapplied(a)),
    ]
    return tuple(
        _described(
            archive,
            replaced=not is_lost(archive, ledger, until),
            allowed=archive.name.applied in allowed,
            now=now.get(archive.name.applied) if archive.state is SpoolState.PARKED else None,
        )
        for archive in sorted(found, key=lambda archive: archive.name.snapshot_at)
    )


def _waiting(spool: Path, ledger: Sequence[AppliedArchive]) -> list[SpooledArchive]:
    """Return what the next load takes: also what a restored database has not applied any more."""
    known = {line.name for line in ledger}
    found = unknown_to(known, [*list_waiting(spool), *list_applied(spool)])
    return [replace(archive, state=SpoolState.WAITING) for archive in found]


def _is_unapplied(archive: SpooledArchive) -> bool:
    return archive.state is not SpoolState.APPLIED


def _described(
    archive: SpooledArchive, *, replaced: bool, allowed: bool, now: Rejection | None
) -> UnappliedArchive:
    name, state = archive.name.applied, archive.state
    readable = ArchiveName.parse(name) is not None
    if state is SpoolState.WAITING:
        reason = "allowed, waits for the next load" if allowed else "waits for the next load"
        command = f"ar-sync plan {name}" if readable else ""
        return UnappliedArchive(name, state, reason, "nothing", archive.name.snapshot_at, command)
    rejection = now or Rejection.read(archive)
    if not readable:
        command = ""
    elif rejection.replaced:
        command = f"ar-sync plan {name}"
    elif state is SpoolState.PARKED:
        command = f"ar-sync {'allow' if held_by_guard(archive) else 'plan'} {name}"
    else:
        # The name is that of another file, too, which may be why this one is in quarantine.
        command = f"ar-sync verify {shlex.quote(str(archive.path))}"
    shown: str = state
    if rejection.replaced:
        shown = PARKED_REPLACED
    elif replaced and state is SpoolState.QUARANTINED:
        shown = REPLACED
    return UnappliedArchive(
        name,
        shown,
        rejection.problem,
        rejection.remedy,
        rejection.since or archive.name.snapshot_at,
        command,
    )
