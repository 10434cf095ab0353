"""The chain of applied archives, from the newest complete on, as the ledger records it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from ar_sync_pipeline.archive.converted import OLD_SYSTEM
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.spool.chain import Chain, Source, Span, chain_of
from ar_sync_pipeline.spool.states import SpooledArchive

_COMPLETE_MAY_WAIT = timedelta(hours=6)
# Cron starts the old sender some seconds after the minute, not always the same, and names say them.
_OLD_SENDER_STARTS_LATE = timedelta(minutes=1)


def source_of(line: AppliedArchive) -> Source | None:
    """Return the database that an applied archive comes from; None: the old system's."""
    is_old = line.cluster == OLD_SYSTEM.system_identifier
    return None if is_old else (line.cluster or "", line.database or "")


def spans(ledger: Sequence[AppliedArchive]) -> list[Span]:
    """Return the ledger's applied archives as spans for the plan."""
    return [
        Span(
            line.archive_id,
            line.kind,
            line.snapshot_at,
            line.covers_from,
            new_history=line.history == line.archive_id,
            source=source_of(line),
        )
        for line in ledger
        if not line.superseded
    ]


def chain_in(ledger: Sequence[AppliedArchive]) -> Chain | None:
    """Return the chain of applied archives without a gap."""
    return chain_of(spans(ledger))


def promised_chain(
    ledger: Sequence[AppliedArchive], waiting: Sequence[SpooledArchive] = ()
) -> Chain | None:
    """Return the chain by what each archive promises, with the gaps that no archive will close.

    A partial of the old system promises the changes of its window and nothing more. A window that
    begins less than a minute after the one before joins it: the start of the old sender varies. A
    complete that waits in the spool closes every gap before it, unless loads pass it over.
    """
    held = [
        replace(span, covers_from=_promised_from(line)) if _is_old_partial(line) else span
        for line in ledger
        for span in spans([line])
    ]
    chain = chain_of(held)
    completes = [a.name.snapshot_at for a in waiting if a.name.kind is ArchiveKind.COMPLETE]
    if chain is None or not completes or passed_over(ledger, waiting) is not None:
        return chain
    to_come = chain_of([*held, Span(UUID(int=0), ArchiveKind.COMPLETE, max(completes))])
    return replace(chain, gaps=to_come.gaps if to_come else ())


def passed_over(
    ledger: Sequence[AppliedArchive], waiting: Sequence[SpooledArchive]
) -> ArchiveName | None:
    """Return the oldest complete that waits although archives made hours after it are applied.

    No load takes it: its sensor is off, or loads of completes fail while those of partials succeed.
    The next completes wait as well, and excuse nothing.
    """
    applied = [line for line in ledger if not line.superseded]
    base = max((a.snapshot_at for a in applied if a.kind is ArchiveKind.COMPLETE), default=None)
    if base is None:
        return None
    completes = [a.name for a in waiting if a.name.kind is ArchiveKind.COMPLETE]
    newer = [name for name in completes if name.snapshot_at > base]
    oldest = min(newer, key=lambda name: name.snapshot_at, default=None)
    reached = max(line.snapshot_at for line in applied)
    if oldest is None or reached - oldest.snapshot_at <= _COMPLETE_MAY_WAIT:
        return None
    return oldest


def content_until(
    ledger: Sequence[AppliedArchive], chain: Chain | None
) -> dict[ArchiveKind, datetime | None]:
    """Return by kind the snapshot up to which other archives have brought what an archive held.

    A partial brings no deletions and no rows that partials missed, so only a complete replaces a
    complete.

    Args:
        chain: Chain of the ledger.
    """
    completes = (a for a in ledger if a.kind is ArchiveKind.COMPLETE and not a.superseded)
    return {
        ArchiveKind.COMPLETE: max((a.snapshot_at for a in completes), default=None),
        ArchiveKind.PARTIAL: chain.until if chain else None,
    }


def is_brought(name: ArchiveName, until: Mapping[ArchiveKind, datetime | None]) -> bool:
    """Return whether other archives have brought what an archive held, by `content_until`."""
    reached = until[name.kind]
    return reached is not None and name.snapshot_at <= reached


def _promised_from(line: AppliedArchive) -> datetime | None:
    return line.window_start - _OLD_SENDER_STARTS_LATE if line.window_start else None


def _is_old_partial(line: AppliedArchive) -> bool:
    is_old = line.system_identifier == OLD_SYSTEM.system_identifier
    return is_old and line.kind is ArchiveKind.PARTIAL
