"""What the sender's journal knows of tables: rules, what partials did not read, and digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from ar_sync_pipeline.sync.dump.sender_journal_file import (
    DigestsOf,
    RulesFrom,
    UnreadTables,
    locked,
    read_journal,
    write_journal,
)

MOST_UNREAD = 300
"""Number of changes of what partials do not read that the sender remembers."""
_MOST_RULES, _MOST_DIGESTS = 300, 1_000


def remember_rules(scratch: Path, snapshot_at: datetime, digests: Mapping[str, str]) -> None:
    """Record the tables of an archive in progress, and their rules, if they differ from before."""
    now = RulesFrom(snapshot_at=snapshot_at, digests=dict(digests), every_table=True)
    before = rules_at(scratch, snapshot_at)
    if before is not None and before == now.model_copy(update={"snapshot_at": before.snapshot_at}):
        return
    with locked(scratch):
        journal = read_journal(scratch)
        rules = [*(r for r in journal.rules if r.snapshot_at != snapshot_at), now]
        rules.sort(key=lambda one: one.snapshot_at)
        kept = tuple(rules[-_MOST_RULES:])
        write_journal(scratch, journal.model_copy(update={"rules": kept}))


def rules_at(scratch: Path, snapshot_at: datetime) -> RulesFrom | None:
    """Return the tables of the archive of a snapshot, with their rules; None: unknown."""
    before = [one for one in read_journal(scratch).rules if one.snapshot_at <= snapshot_at]
    return before[-1] if before else None


def remember_unread(scratch: Path, now: UnreadTables) -> None:
    """Record what a partial in progress does not read."""
    if not now.names and not now.made_up:
        return
    with locked(scratch):
        journal = read_journal(scratch)
        *before, last = [*journal.unread, now]
        if before and _continues(before[-1], now):
            last = now.model_copy(update={"first_at": before.pop().first_at})
        found = sorted((*before, last), key=lambda one: one.last_at)
        write_journal(scratch, journal.model_copy(update={"unread": tuple(found[-MOST_UNREAD:])}))


def remember_loss(
    scratch: Path, snapshot_at: datetime, tables: Iterable[str], now: datetime
) -> None:
    """Record that partials may have left out any table, if the journal was lost during a dump.

    Else the new journal would have a complete, and nothing of what partials after it left out.

    Args:
        snapshot_at: Snapshot of the dump, which the journal named when it began.
    """
    if snapshot_at not in read_journal(scratch).begun:
        names, last_at = tuple(sorted(tables)), max(snapshot_at, now)
        remember_unread(scratch, UnreadTables(first_at=snapshot_at, last_at=last_at, names=names))


def _continues(before: UnreadTables, now: UnreadTables) -> bool:
    is_alike = before.names == now.names and not before.made_up and not now.made_up
    return is_alike and before.last_at <= now.last_at


def remember_digests(scratch: Path, digests: DigestsOf) -> None:
    """Record when the digests of all chunks of a complete were computed."""
    with locked(scratch):
        journal = read_journal(scratch)
        known = [one for one in journal.digests if one.snapshot_at != digests.snapshot_at]
        kept = (*known, digests)[-_MOST_DIGESTS:]
        write_journal(scratch, journal.model_copy(update={"digests": kept}))


def digests_of(scratch: Path, snapshot_at: datetime) -> DigestsOf | None:
    """Return when the digests of a complete were computed; None: unknown."""
    return next(
        (one for one in read_journal(scratch).digests if one.snapshot_at == snapshot_at), None
    )
