"""Why parked archives wait now: what was granted, migrated or upgraded since their check counts.

Nothing is moved: the next load of their kind does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from ar_sync_pipeline.archive.errors import NewerFormatError
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger_tables import open_existing_ledger
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.reasons import write_reason
from ar_sync_pipeline.spool.states import SpooledArchive
from ar_sync_pipeline.sync.errors import (
    ArchiveParkedError,
    DeleteGuardError,
    FutureArchiveError,
    SetBackError,
)
from ar_sync_pipeline.sync.load.examine import Receiver, describe_receiver, examine
from ar_sync_pipeline.sync.rejection import Rejection

# The oldest ones give the reason that is shown; a manifest may have many chunks.
_MOST = 30
_COMPARED = frozenset(
    error.code
    for error in (
        ArchiveParkedError,
        DeleteGuardError,
        FutureArchiveError,
        NewerFormatError,
        SetBackError,
    )
)


def examine_again(
    settings: ReceiverSettings, catalog: Catalog, parked: Sequence[SpooledArchive], now: datetime
) -> list[Rejection]:
    """Return the rejections of parked archives in their order.

    Those that wait for the receiver's schema, catalog, rights, clock, version or history, or for an
    approval, are compared again. Of the others only a load shows whether they can be applied; they,
    and what cannot be compared now, have the reason that was written.
    """
    written = [Rejection.read(archive) for archive in parked]
    again = [n for n, one in enumerate(written) if one.code in _COMPARED][:_MOST]
    if not again:
        return written
    url = settings.database_url
    try:
        with connect(url, application="status") as connection:
            if not open_existing_ledger(connection):
                return written
            receiver = describe_receiver(connection, settings, catalog, now)
    except ArSyncError:
        return written  # whoever asks learns of it elsewhere
    for number in again:
        written[number] = _compared(parked[number], written[number], receiver)
    return written


def renew_reasons(parked: Sequence[SpooledArchive], receiver: Receiver, at: datetime) -> None:
    """Write why archives wait now that this load does not try, since they are of the other kind.

    The check of the load and the report to the sender are made of what is written.
    """
    for archive in parked[:_MOST]:
        written = Rejection.read(archive)
        if written.code not in _COMPARED or written.code == DeleteGuardError.code:
            continue
        now = _compared(archive, written, receiver)
        if now.problem != written.problem:
            # A full disk keeps the earlier reason, which the status does not show.
            with suppress(ArSyncError):
                write_reason(archive.path, ArchiveParkedError(now.problem, remedy=now.remedy), at)


def _compared(archive: SpooledArchive, written: Rejection, receiver: Receiver) -> Rejection:
    if written.code == DeleteGuardError.code and not receiver.has_content_of(archive.name):
        return written
    try:
        with open_archive(archive.path) as reader:
            examine(reader, receiver)
            replaced = receiver.has_content_of(reader.manifest.name)
    except ArchiveParkedError as error:
        return replace(Rejection.of(archive, error), since=written.since)
    except (ArSyncError, OSError):
        return written
    found = "brings nothing new any more" if replaced else "fits the receiver now"
    return replace(
        written,
        problem=f"{written.name} {found}, and waits for the next load",
        remedy="no action is needed: the next load takes it from there",
        replaced=replaced,
    )
