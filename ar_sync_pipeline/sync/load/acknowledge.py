"""Reports to the sender on its archives: receipts, and the receiver's checkpoint.

Both follow from the ledger and from the folders of the files. If a run is killed before it writes
them, the next run writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from ar_sync_pipeline.archive.manifest import (
    CHANGES_FORMAT,
    COVERAGE_FORMAT,
    DIFFERENTIAL_FORMAT,
    MEDIA_LIST_FORMAT,
    OMISSIONS_FORMAT,
    WHOLE_FORMAT,
    Watermark,
)
from ar_sync_pipeline.archive.spool_names import RECEIPTS
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.digest import probe_digest
from ar_sync_pipeline.postgres.errors import LoadInProgressError
from ar_sync_pipeline.postgres.ledger import AppliedArchive, read_ledger, read_watermark
from ar_sync_pipeline.postgres.ledger_tables import load_lock, open_existing_ledger
from ar_sync_pipeline.postgres.table_definitions import read_unverified
from ar_sync_pipeline.settings.model import ReceiverSettings, SchemaDrift
from ar_sync_pipeline.spool.agreed_settings import AgreedSettings
from ar_sync_pipeline.spool.capabilities import Capabilities
from ar_sync_pipeline.spool.checkpoint import (
    MOST_PARKED,
    MOST_UNSENT,
    MOST_UNVERIFIED,
    Checkpoint,
    ParkedArchive,
)
from ar_sync_pipeline.spool.errors import ReceiptError
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.load_at_work import LoadAtWork
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.receipts import (
    REMEMBERED,
    Receipt,
    ReceiptState,
    clean_receipts,
    read_receipt,
    write_receipt,
)
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    SpoolState,
    list_applied,
    list_parked,
    list_quarantined,
    list_waiting,
)
from ar_sync_pipeline.sync.load.applied_chain import chain_in, promised_chain
from ar_sync_pipeline.sync.load.one_receiver import give_sign
from ar_sync_pipeline.sync.load.rejected_archives import lost_in_quarantine
from ar_sync_pipeline.sync.load.vanished_archives import forget_archives
from ar_sync_pipeline.sync.rejection import as_state

# Limits the listed reasons to the maximum size of a checkpoint, at six bytes per character.
_LONGEST_REASON = 500
_REFUSALS = {
    SpoolState.QUARANTINED: ReceiptState.QUARANTINED,
    SpoolState.PARKED: ReceiptState.PARKED,
}


def acknowledge(
    settings: ReceiverSettings,
    connection: Connection,
    clock: Clock,
    unsent: Sequence[str] | None = None,
) -> None:
    """Write the checkpoint, and the receipts of all archives whose state has changed.

    Args:
        unsent: Tables that the sender no longer sends; None: those of the last load.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses.
    """
    spool = settings.remote_bkp_fldr
    keys = settings.signing_keys.accepted(clock())
    ledger = read_ledger(connection)
    lines = {line.name: line for line in ledger}
    found = (*_after_the_chain(ledger), *_receipts(spool, lines))
    receipts = {receipt.archive: receipt for receipt in found}
    for receipt in receipts.values():
        if not _is_written(spool, receipt, keys):
            write_receipt(spool, receipt, signing_keys=keys)
    # A load that was killed after its commit has not renamed all that it has applied.
    waiting = [archive for archive in list_waiting(spool) if archive.name.applied not in lines]
    promised = promised_chain(ledger, waiting)
    unverified, at = read_unverified(connection), clock()
    parked = list_parked(spool)
    if unsent is None:
        written = _written(settings, clock)
        unsent = written.unsent if written else ()
    give_sign(spool, connection, ledger, at)
    _capabilities(settings, connection, at).write(spool, signing_keys=keys)
    checkpoint = Checkpoint(
        at=at,
        watermark=_end(ledger, connection),
        gaps=len(promised.gaps) if promised else 0,
        waiting=len(waiting),
        parked=tuple(_parked(parked)),
        more_parked=len(parked[MOST_PARKED:]),
        quarantined=len(lost_in_quarantine(settings, ledger)),
        unverified=unverified[:MOST_UNVERIFIED],
        more_unverified=len(unverified[MOST_UNVERIFIED:]),
        unsent=tuple(unsent[:MOST_UNSENT]),
    )
    checkpoint.write(spool, signing_keys=keys)
    agreed = AgreedSettings(
        pair=settings.pair,
        sender_name=settings.sender_name,
        partial_interval=settings.partial_interval,
        time=settings.time,
    )
    agreed.write(spool, signing_keys=keys)
    clean_receipts(spool, older_than=clock() - REMEMBERED, kept=receipts)
    forget_archives(settings, ledger, clock())


def acknowledge_by_hand(settings: ReceiverSettings, clock: Clock) -> bool:
    """Write the checkpoint again after a change by a person; return whether it was written.

    A person moves rejected archives, restores the database, or makes a lost spool again. Without it
    the sender would know of that only after the next load. A load at work writes it itself.

    Raises:
        DatabaseUnreachableError: The receiver's database cannot be reached.
        SpoolAccessError: The operating system refuses.
    """
    written, url = _written(settings, clock), settings.database_url
    if written is None and not (settings.remote_bkp_fldr / RECEIPTS).exists():
        return False
    with connect(url, application="acknowledge") as connection, suppress(LoadInProgressError):
        if not open_existing_ledger(connection):
            return False
        ledger = read_ledger(connection)
        give_sign(settings.remote_bkp_fldr, connection, ledger, clock())
        keys = settings.signing_keys.accepted(clock())
        if written is not None and _is_true(written, settings, ledger, connection, keys):
            return False
        with load_lock(connection):
            acknowledge(settings, connection, clock)
            return True
    return False


def report_load_at_work(settings: ReceiverSettings, clock: Clock) -> None:
    """Tell the sender that a load is at work, unless the load has not made the folder yet.

    Raises:
        SpoolAccessError: The operating system refuses.
    """
    at, spool = clock(), settings.remote_bkp_fldr
    if (spool / RECEIPTS).exists():
        LoadAtWork(at=at).write(spool, signing_keys=settings.signing_keys.accepted(at))


def _is_true(
    written: Checkpoint,
    settings: ReceiverSettings,
    ledger: Sequence[AppliedArchive],
    connection: Connection,
    keys: Sequence[bytes],
) -> bool:
    spool = settings.remote_bkp_fldr
    parked = list_parked(spool)
    return (
        written.parked == tuple(_parked(parked))
        and written.more_parked == len(parked[MOST_PARKED:])
        and written.quarantined == len(lost_in_quarantine(settings, ledger))
        and written.watermark == _end(ledger, connection)
        and all(_is_written(spool, receipt, keys) for receipt in _after_the_chain(ledger))
    )


def _end(ledger: Sequence[AppliedArchive], connection: Connection) -> Watermark | None:
    """Return the end of the chain without a gap."""
    chain = chain_in(ledger)
    return read_watermark(connection, chain.end) if chain else None


def _written(settings: ReceiverSettings, clock: Clock) -> Checkpoint | None:
    keys = settings.signing_keys.accepted(clock())
    try:
        return Checkpoint.read(settings.remote_bkp_fldr, signing_keys=keys)
    except ReceiptError:
        return None


def _capabilities(settings: ReceiverSettings, connection: Connection, at: datetime) -> Capabilities:
    # The digests of some columns differ from those of all columns.
    common_columns_only = settings.schema_drift is SchemaDrift.IGNORE
    differential = () if common_columns_only else (DIFFERENTIAL_FORMAT, CHANGES_FORMAT)
    return Capabilities(
        at=at,
        archive_formats=(
            WHOLE_FORMAT,
            MEDIA_LIST_FORMAT,
            COVERAGE_FORMAT,
            OMISSIONS_FORMAT,
            *differential,
        ),
        digest_probe=probe_digest(connection),
    )


def _after_the_chain(ledger: Sequence[AppliedArchive]) -> Iterator[Receipt]:
    """Yield receipts of what the checkpoint does not show, also if the files of it are lost.

    A sender that was set back learns only by them that the receiver has more than it knows.
    """
    chain = chain_in(ledger)
    for line in ledger:
        if chain is not None and line.snapshot_at > chain.until and not line.superseded:
            yield _of_line(line)


def _receipts(spool: Path, ledger: Mapping[str, AppliedArchive]) -> Iterator[Receipt]:
    """Yield receipts by folder; what the ledger has comes last, since a damaged copy may exist too.

    A rejected file of an applied archive is such a copy, also if its own file is deleted.
    """
    rejected = (*list_quarantined(spool), *list_parked(spool))
    for archive in rejected:
        line = ledger.get(archive.name.applied)
        if line is None or line.superseded:
            yield from _refusal(archive, _REFUSALS[archive.state])
        else:
            yield _of_line(line)
    for archive in (*list_waiting(spool), *list_applied(spool)):
        line = ledger.get(archive.name.applied)
        if line is not None:
            yield _of_line(line)


def _of_line(line: AppliedArchive) -> Receipt:
    return Receipt(
        archive=line.name,
        archive_id=line.archive_id,
        state=ReceiptState.SUPERSEDED if line.superseded else ReceiptState.APPLIED,
        at=line.applied_at,
        lacking=_to_carry(line),
    )


def _to_carry(line: AppliedArchive) -> Lacking | None:
    found = line.unverified_chunks
    return None if found is None else Lacking.model_validate(found)


def _parked(parked: Sequence[SpooledArchive]) -> Iterator[ParkedArchive]:
    for archive in parked[:MOST_PARKED]:
        reason = read_reason(archive.path)
        said = as_state(reason.reason, reason.remedy, _LONGEST_REASON) if reason else ""
        yield ParkedArchive(archive=archive.name.applied, reason=said)


def _refusal(archive: SpooledArchive, state: ReceiptState) -> Iterator[Receipt]:
    reason = read_reason(archive.path)
    # Anybody may have written the file: a receipt has narrower limits than a reason.
    with suppress(ValidationError):
        if reason is None:
            return
        yield Receipt(
            archive=archive.name.applied,
            state=state,
            reason=reason.reason[:4096],
            remedy=reason.remedy[:4096],
            at=reason.since,
            lacking=reason.lacking if state is ReceiptState.PARKED else None,
        )


def _is_written(spool: Path, receipt: Receipt, keys: Sequence[bytes]) -> bool:
    try:
        found = read_receipt(spool, receipt.name, signing_keys=keys)
    except ReceiptError:
        return False
    return (
        found is not None and found.model_copy(update={"hmac": None, "old_hmac": None}) == receipt
    )
