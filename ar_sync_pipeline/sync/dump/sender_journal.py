"""The sender's journal of sent archives: a small file in its scratch folder.

Together with the receiver's checkpoint and a check of the spool it shows from which point the next
partial must contain every change, and which snapshot was the newest. If the journal is lost:

- the next partial starts at the receiver's checkpoint, if that is consistent
  (`believed_checkpoint`), and contains again what waits in the spool;
- without a checkpoint (or if the spool cannot be reached) there is no point to start from: only the
  partial's window counts, the receiver reports a gap, and the next complete repairs it;
- a snapshot is dated only after the receiver's checkpoint and after what waits in its spool;
- the next partial exports every table whole, once;
- archives sent before are no longer reported if the receiver does not acknowledge them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from ar_sync_pipeline.archive.manifest import Manifest, Watermark
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.export.snapshot import TICK
from ar_sync_pipeline.spool.receipts import REMEMBERED, Receipt, ReceiptState
from ar_sync_pipeline.sync.dump.sender_journal_file import (
    SentArchive,
    locked,
    read_journal,
    write_journal,
)

KEPT_COMPLETES = 3
"""Number of the newest completes that the sender remembers whatever their age, with their content,
to compare the next one."""


def begin_at(scratch: Path, now: datetime, after: datetime | None) -> datetime:
    """Return and record the date of a dump that begins; delete those of old ones.

    It is later than ``after``, and that of no other dump: two may begin at the same time while the
    clock is set back, after the same archive.
    """
    snapshot_at = now if after is None else max(now, after + TICK)
    with locked(scratch):
        journal = read_journal(scratch)
        others = {*journal.begun, *(archive.watermark.snapshot_at for archive in journal.archives)}
        while snapshot_at in others:
            snapshot_at += TICK
        recent = {at for at in journal.begun if at > snapshot_at - REMEMBERED}
        begun = tuple(sorted({*recent, snapshot_at}))
        write_journal(scratch, journal.model_copy(update={"begun": begun}))
    return snapshot_at


def read_begun(scratch: Path) -> tuple[datetime, ...]:
    """Return the snapshots of dumps whose archives are not recorded as sent."""
    return read_journal(scratch).begun


def announce(
    scratch: Path, manifest: Manifest, now: datetime, reached: datetime | None = None
) -> None:
    """Record the point of an archive before its upload begins; delete old ones.

    Args:
        reached: See `remember_sent`: of what the receiver may not have applied yet, an archive may
            have arrived although its upload failed (`record_arrival`).
    """
    with locked(scratch):
        journal = read_journal(scratch)
        sent = {archive.watermark for archive in journal.archives}
        arriving = {*journal.arriving}
        kept = [
            point
            for point in journal.announced
            if point.snapshot_at > now - REMEMBERED
            or (_is_from(point, reached) and point not in sent and point.snapshot_at in arriving)
        ]
        if manifest.watermark not in kept:
            announced = (*kept, manifest.watermark)
            dates = arriving & {point.snapshot_at for point in kept}
            update = {"announced": announced, "arriving": tuple(sorted(dates))}
            write_journal(scratch, journal.model_copy(update=update))


def record_arrival(scratch: Path, snapshot_at: datetime, *, possible: bool) -> None:
    """Record before the rename of an archive that it may arrive, or that the rename was refused."""
    with locked(scratch):
        journal = read_journal(scratch)
        arriving = {*journal.arriving} - {snapshot_at}
        if possible:
            arriving.add(snapshot_at)
        if arriving != {*journal.arriving}:
            write_journal(scratch, journal.model_copy(update={"arriving": tuple(sorted(arriving))}))


def remember_sent(
    scratch: Path,
    manifest: Manifest,
    size_bytes: int,
    sent_at: datetime,
    reached: datetime | None = None,
) -> None:
    """Record an archive as published; delete those sent long before, but the newest completes.

    Args:
        reached: Snapshot of the receiver's checkpoint. Its archive is kept, and those after it:
            they may wait in its spool for as long as it loads nothing, and the next partial joins
            them. None: unknown.
    """
    partial = manifest.kind is ArchiveKind.PARTIAL
    sent = SentArchive(
        name=manifest.name.applied,
        kind=manifest.kind,
        size_bytes=size_bytes,
        since=manifest.since if partial else None,
        watermark=manifest.watermark,
        sent_at=sent_at,
        differential=manifest.base is not None,
    )
    with locked(scratch):
        journal = read_journal(scratch)
        known = _ordered({a.name: a for a in (*journal.archives, sent)}.values())
        oldest = sent_at - REMEMBERED
        archives = tuple(a for a in known if a.sent_at > oldest or _is_from(a.watermark, reached))
        older = {a.name: a for a in (*journal.completes, *known)}
        kept = possible_bases(_ordered(older.values()))
        completes = tuple(a for a in kept if a not in archives)
        begun, arriving = (
            tuple(at for at in dates if at != sent.watermark.snapshot_at)
            for dates in (journal.begun, journal.arriving)
        )
        update = {
            "archives": archives,
            "completes": completes,
            "begun": begun,
            "arriving": arriving,
        }
        write_journal(scratch, journal.model_copy(update=update))


def remember_receipts(scratch: Path, receipts: Mapping[str, Receipt]) -> None:
    """Record what the verified receipts of archives report; most of them are read only once."""
    with locked(scratch):
        journal = read_journal(scratch)
        update = {
            "archives": _reported(journal.archives, receipts),
            "completes": _reported(journal.completes, receipts),
        }
        after = journal.model_copy(update=update)
        if after != journal:
            write_journal(scratch, after)


def _reported(
    archives: Iterable[SentArchive], receipts: Mapping[str, Receipt]
) -> tuple[SentArchive, ...]:
    return tuple(
        archive.model_copy(
            update={"heard": True, "state": receipt.state, "lacking": receipt.lacking}
        )
        if (receipt := receipts.get(archive.name))
        else archive
        for archive in archives
    )


def read_sent(scratch: Path) -> tuple[SentArchive, ...]:
    """Return the archives of the last days and the newest completes, oldest snapshot first.

    On a new machine there are none.
    """
    journal = read_journal(scratch)
    return tuple(_ordered((*journal.completes, *journal.archives)))


def possible_bases(archives: Iterable[SentArchive]) -> tuple[SentArchive, ...]:
    """Return the newest completes, and the newest applied one if it is none of them.

    Args:
        archives: Archives, oldest snapshot first.
    """
    completes = [a for a in archives if a.kind is ArchiveKind.COMPLETE]
    newest = completes[-KEPT_COMPLETES:]
    applied = [a for a in completes if a.state is ReceiptState.APPLIED][-1:]
    return (*(a for a in applied if a not in newest), *newest)


def _ordered(archives: Iterable[SentArchive]) -> list[SentArchive]:
    return sorted(archives, key=lambda archive: archive.watermark.snapshot_at)


def read_points(scratch: Path) -> tuple[Watermark, ...]:
    """Return every point of its history that the sender's archives of the last days contain.

    Older completes are left out: a point between them and the others is unknown, not forged.
    """
    journal = read_journal(scratch)
    starts = [archive.since for archive in journal.archives if archive.since is not None]
    return (*starts, *(archive.watermark for archive in journal.archives), *journal.announced)


def read_announced(scratch: Path) -> tuple[Watermark, ...]:
    """Return the points of archives whose upload has begun, also of those that were sent."""
    return read_journal(scratch).announced


def own_points(scratch: Path, since: Watermark | None, until: datetime) -> tuple[Watermark, ...]:
    """Return the known points of the sender's archives after a point and before a time."""
    return tuple(
        point
        for point in dict.fromkeys(read_points(scratch))
        if point.snapshot_at < until and (since is None or point.snapshot_at > since.snapshot_at)
    )


def has_unknown(
    scratch: Path, dates: Iterable[datetime], since: Watermark | None, until: datetime
) -> bool:
    """Return whether the receiver has archives that this journal should know and does not."""
    return bool(unknown_dates(scratch, dates, since, until))


def unknown_dates(
    scratch: Path, dates: Iterable[datetime], since: Watermark | None, until: datetime
) -> tuple[datetime, ...]:
    """Return the receiver's archives that this journal should know and does not, oldest first.

    This side was then restored, together with its journal, or another sender publishes into the
    spool. The journal knows every archive from the oldest one of the last days on; up to ``since``
    the receiver's checkpoint tells.

    Args:
        dates: Snapshots of the archives that the receiver has.
        until: Latest date of an archive that counts; later ones are of a clock that was ahead.
    """
    journal = read_journal(scratch)
    sent = {archive.watermark.snapshot_at for archive in journal.archives}
    if not sent:
        return ()
    own = sent | {point.snapshot_at for point in journal.announced}
    after = min(sent) if since is None else max(min(sent), since.snapshot_at)
    return tuple(sorted(at for at in dates if after < at <= until and at not in own))


def _is_from(point: Watermark, reached: datetime | None) -> bool:
    return reached is not None and point.snapshot_at >= reached
