"""Retention in the spool: nothing that was not applied is deleted (old D32)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.ledger import (
    AppliedArchive,
    date_superseded,
    read_ledger,
    summarize_ledger,
)
from ar_sync_pipeline.postgres.ledger_tables import load_lock, open_existing_ledger
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.receipts import REMEMBERED
from ar_sync_pipeline.spool.retention import (
    Decision,
    RetentionPolicy,
    apply_retention,
    plan_retention,
)
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    clean_incoming,
    list_applied,
    list_parked,
    list_quarantined,
    list_waiting,
)
from ar_sync_pipeline.sync.load.intakes import other_archives

# An interrupted upload is resumed within hours; after days without a change it never will be.
_ABANDONED_UPLOAD = timedelta(days=2)


@dataclass(frozen=True)
class Retention:
    """What was deleted, or would be.

    Attributes:
        decisions: Decision for each archive in the spool, with its reason.
        abandoned: Sizes in bytes of the files of uploads that were not continued.
        freed_bytes: Size of the deleted files in bytes; 0 in a dry run.
    """

    decisions: tuple[Decision, ...]
    abandoned: Mapping[Path, int]
    freed_bytes: int


def run_retention(settings: ReceiverSettings, clock: Clock, *, dry_run: bool) -> Retention:
    """Decide for every archive in the spool, and delete what may be deleted.

    Before the first load no archive may be.

    Args:
        dry_run: Whether to decide only.

    Raises:
        LoadInProgressError: A load is using these files.
        SpoolAccessError: The operating system refuses.
    """
    url = settings.database_url
    with connect(url, application="retention") as connection:
        has_ledger = open_existing_ledger(connection)
        if dry_run or not has_ledger:
            decisions = _decide(settings, read_ledger(connection) if has_ledger else [], clock)
            abandoned = clean_uploads(settings, clock, dry_run=dry_run)
            freed_bytes = 0 if dry_run else sum(abandoned.values())
            return Retention(tuple(decisions), abandoned, freed_bytes)
        with load_lock(connection):
            return clean_spool(settings, connection, clock)


def clean_spool(settings: ReceiverSettings, connection: Connection, clock: Clock) -> Retention:
    """Apply retention inside a load, which already holds the lock.

    Rows of the ledger that are no longer needed are replaced by counts.
    """
    date_superseded(connection, clock())
    decisions = _decide(settings, read_ledger(connection), clock)
    freed_bytes = apply_retention(decisions)
    abandoned = clean_uploads(settings, clock)
    summarize_ledger(
        connection,
        present=[_converted(decision.archive).applied for decision in decisions],
        applied_before=clock() - REMEMBERED,
    )
    return Retention(tuple(decisions), abandoned, freed_bytes + sum(abandoned.values()))


def clean_uploads(
    settings: ReceiverSettings, clock: Clock, *, dry_run: bool = False
) -> Mapping[Path, int]:
    """Delete the files of uploads that were not continued, and return their sizes in bytes.

    It needs no load: while the disk is full of them, nothing arrives that could be loaded.

    Raises:
        SpoolAccessError: The operating system refuses.
    """
    older_than = clock() - _ABANDONED_UPLOAD
    return clean_incoming(settings.remote_bkp_fldr, older_than=older_than, dry_run=dry_run)


def _converted(archive: SpooledArchive) -> ArchiveName:
    """Return the name in the ledger; for an archive of the old system, that of its conversion."""
    return ArchiveName(archive.name.kind, archive.name.snapshot_at)


def _decide(
    settings: ReceiverSettings, ledger: Sequence[AppliedArchive], clock: Clock
) -> list[Decision]:
    lines = [(name, line) for line in ledger if (name := ArchiveName.parse(line.name))]
    applied_at = {name: line.applied_at for name, line in lines}
    superseded = {name for name, line in lines if line.superseded}
    spool = settings.remote_bkp_fldr
    archives = [
        *list_applied(spool),
        *list_waiting(spool),
        *list_parked(spool),
        *list_quarantined(spool),
    ]
    old = other_archives(settings)
    applied_at |= {a.name: at for a in old if (at := applied_at.get(_converted(a)))}
    archives += old
    policy = RetentionPolicy(complete_lifetime=timedelta(days=settings.bkps_lifetime))
    return plan_retention(archives, applied_at, policy, clock(), superseded)
