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

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ar_sync_pipeline.archive.manifest import Manifest, Watermark
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.export.snapshot import TICK
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.receipts import Receipt, ReceiptState

SENT_FILE = "ar_sync_sent.json"
KEPT_COMPLETES = 3
"""Number of the newest completes that the sender remembers whatever their age, with their content,
to compare the next one."""
REMEMBERED = timedelta(days=8)
"""Time for which the sender remembers other archives."""
MOST_UNREAD = 300
"""Number of changes of what partials do not read that the sender remembers."""
_MOST_RULES, _MOST_DIGESTS = 300, 1_000


class SentArchive(BaseModel):
    """An archive that was published.

    Attributes:
        name: Name without the prefix of waiting archives.
        since: Point from which a partial contains every change; None: unknown.
        heard: Whether a verified receipt reported its state.
        state: State in the newest verified receipt; None: unknown.
        lacking: What the receiver lacks of a parked archive, or could not verify of an applied
            complete.
        differential: Whether it is a complete that does not carry everything, so that the receiver
            may be unable to apply it.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: ArchiveKind
    size_bytes: int
    since: Watermark | None
    watermark: Watermark
    sent_at: AwareDatetime
    heard: bool = False
    state: ReceiptState | None = None
    lacking: Lacking | None = None
    differential: bool = False

    @property
    def is_lacking(self) -> bool:
        """Whether it is parked because it does not carry enough."""
        return self.state is ReceiptState.PARKED and self.lacking is not None


class RulesFrom(BaseModel):
    """The tables of the archives from a snapshot on, and their rules.

    Attributes:
        digests: As returned by `rule_digests`.
        every_table: Whether tables without column rules are listed; earlier versions left them out.
    """

    model_config = ConfigDict(frozen=True)

    snapshot_at: AwareDatetime
    digests: dict[str, str]
    every_table: bool = False


class UnreadTables(BaseModel):
    """What a partial, or several in a row, did not read for its watermark.

    Attributes:
        first_at: Snapshot of the first partial.
        last_at: Snapshot of the last one.
        names: Tables that they neither read nor carried whole.
        made_up: Tables that the partial carried whole, of which the receiver lacked changes before.
    """

    model_config = ConfigDict(frozen=True)

    first_at: AwareDatetime
    last_at: AwareDatetime
    names: tuple[str, ...]
    made_up: tuple[str, ...] = ()


class DigestsOf(BaseModel):
    """When the digests of all chunks of a complete were computed, and not taken from its base.

    Attributes:
        snapshot_at: Snapshot of the complete.
        computed_at: Time at which a complete last computed every digest.
        misjudged: Number of chunks by table that differed then although row versions showed no
            change.
    """

    model_config = ConfigDict(frozen=True)

    snapshot_at: AwareDatetime
    computed_at: AwareDatetime
    misjudged: dict[str, int] = {}


class _Journal(BaseModel):
    """Content of the file.

    Attributes:
        archives: Archives of the last days.
        completes: Newest completes from before; the points between them are forgotten.
        rules: One for each change of the tables or of their column rules, oldest first.
        unread: What partials did not read, oldest first; none of a partial that read everything.
        digests: One for each of the last completes, oldest first.
        announced: Points of archives whose upload has begun: the receiver may apply one although
            the sender was killed before it could record the archive as sent.
        arriving: Snapshots of announced archives that are not recorded as sent, and may have got
            their final name.
        begun: Snapshots of dumps whose archives are not recorded as sent: a complete takes long,
            and a partial that is dumped meanwhile must be dated after it.
    """

    archives: tuple[SentArchive, ...] = ()
    completes: tuple[SentArchive, ...] = ()
    announced: tuple[Watermark, ...] = ()
    arriving: tuple[AwareDatetime, ...] = ()
    rules: tuple[RulesFrom, ...] = ()
    unread: tuple[UnreadTables, ...] = ()
    digests: tuple[DigestsOf, ...] = ()
    begun: tuple[AwareDatetime, ...] = ()


def begin_at(scratch: Path, now: datetime, after: datetime | None) -> datetime:
    """Return and record the date of a dump that begins; delete those of old ones.

    It is later than ``after``, and that of no other dump: two may begin at the same time while the
    clock is set back, after the same archive.
    """
    snapshot_at = now if after is None else max(now, after + TICK)
    with locked(scratch):
        journal = _read(scratch)
        others = {*journal.begun, *(archive.watermark.snapshot_at for archive in journal.archives)}
        while snapshot_at in others:
            snapshot_at += TICK
        recent = {at for at in journal.begun if at > snapshot_at - REMEMBERED}
        begun = tuple(sorted({*recent, snapshot_at}))
        _write(scratch, journal.model_copy(update={"begun": begun}))
    return snapshot_at


def read_begun(scratch: Path) -> tuple[datetime, ...]:
    """Return the snapshots of dumps whose archives are not recorded as sent."""
    return _read(scratch).begun


def announce(
    scratch: Path, manifest: Manifest, now: datetime, reached: datetime | None = None
) -> None:
    """Record the point of an archive before its upload begins; delete old ones.

    Args:
        reached: See `remember_sent`: of what the receiver may not have applied yet, an archive may
            have arrived although its upload failed (`record_arrival`).
    """
    with locked(scratch):
        journal = _read(scratch)
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
            _write(scratch, journal.model_copy(update=update))


def record_arrival(scratch: Path, snapshot_at: datetime, *, possible: bool) -> None:
    """Record before the rename of an archive that it may arrive, or that the rename was refused."""
    with locked(scratch):
        journal = _read(scratch)
        arriving = {*journal.arriving} - {snapshot_at}
        if possible:
            arriving.add(snapshot_at)
        if arriving != {*journal.arriving}:
            _write(scratch, journal.model_copy(update={"arriving": tuple(sorted(arriving))}))


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
        journal = _read(scratch)
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
        _write(scratch, journal.model_copy(update=update))


def remember_rules(scratch: Path, snapshot_at: datetime, digests: Mapping[str, str]) -> None:
    """Record the tables of an archive in progress, and their rules, if they differ from before."""
    now = RulesFrom(snapshot_at=snapshot_at, digests=dict(digests), every_table=True)
    before = rules_at(scratch, snapshot_at)
    if before is not None and before == now.model_copy(update={"snapshot_at": before.snapshot_at}):
        return
    with locked(scratch):
        journal = _read(scratch)
        rules = [*(r for r in journal.rules if r.snapshot_at != snapshot_at), now]
        rules.sort(key=lambda one: one.snapshot_at)
        kept = tuple(rules[-_MOST_RULES:])
        _write(scratch, journal.model_copy(update={"rules": kept}))


def rules_at(scratch: Path, snapshot_at: datetime) -> RulesFrom | None:
    """Return the tables of the archive of a snapshot, with their rules; None: unknown."""
    before = [one for one in _read(scratch).rules if one.snapshot_at <= snapshot_at]
    return before[-1] if before else None


def remember_unread(scratch: Path, now: UnreadTables) -> None:
    """Record what a partial in progress does not read."""
    if not now.names and not now.made_up:
        return
    with locked(scratch):
        journal = _read(scratch)
        *before, last = [*journal.unread, now]
        if before and _continues(before[-1], now):
            last = now.model_copy(update={"first_at": before.pop().first_at})
        found = sorted((*before, last), key=lambda one: one.last_at)
        _write(scratch, journal.model_copy(update={"unread": tuple(found[-MOST_UNREAD:])}))


def read_unread(scratch: Path) -> tuple[UnreadTables, ...]:
    """Return what the partials did not read, oldest first; if it is `MOST_UNREAD`, not of all."""
    return _read(scratch).unread


def _continues(before: UnreadTables, now: UnreadTables) -> bool:
    is_alike = before.names == now.names and not before.made_up and not now.made_up
    return is_alike and before.last_at <= now.last_at


def remember_digests(scratch: Path, digests: DigestsOf) -> None:
    """Record when the digests of all chunks of a complete were computed."""
    with locked(scratch):
        journal = _read(scratch)
        known = [one for one in journal.digests if one.snapshot_at != digests.snapshot_at]
        kept = (*known, digests)[-_MOST_DIGESTS:]
        _write(scratch, journal.model_copy(update={"digests": kept}))


def read_digests(scratch: Path) -> tuple[DigestsOf, ...]:
    """Return when the digests of the last completes were computed, oldest first."""
    return _read(scratch).digests


def digests_of(scratch: Path, snapshot_at: datetime) -> DigestsOf | None:
    """Return when the digests of a complete were computed; None: unknown."""
    return next((one for one in _read(scratch).digests if one.snapshot_at == snapshot_at), None)


def remember_receipts(scratch: Path, receipts: Mapping[str, Receipt]) -> None:
    """Record what the verified receipts of archives report; most of them are read only once."""
    with locked(scratch):
        journal = _read(scratch)
        update = {
            "archives": _reported(journal.archives, receipts),
            "completes": _reported(journal.completes, receipts),
        }
        after = journal.model_copy(update=update)
        if after != journal:
            _write(scratch, after)


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
    journal = _read(scratch)
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
    journal = _read(scratch)
    starts = [archive.since for archive in journal.archives if archive.since is not None]
    return (*starts, *(archive.watermark for archive in journal.archives), *journal.announced)


def read_announced(scratch: Path) -> tuple[Watermark, ...]:
    """Return the points of archives whose upload has begun, also of those that were sent."""
    return _read(scratch).announced


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
    """Return whether the receiver has archives that this journal should know and does not.

    This side was then restored, together with its journal. It knows every archive from the oldest
    one of the last days on; up to ``since`` the receiver's checkpoint tells.

    Args:
        dates: Snapshots of the archives that the receiver has.
        until: Latest date of an archive that counts; later ones are of a clock that was ahead.
    """
    journal = _read(scratch)
    sent = {archive.watermark.snapshot_at for archive in journal.archives}
    if not sent:
        return False
    own = sent | {point.snapshot_at for point in journal.announced}
    after = min(sent) if since is None else max(min(sent), since.snapshot_at)
    return any(after < at <= until and at not in own for at in dates)


def _is_from(point: Watermark, reached: datetime | None) -> bool:
    return reached is not None and point.snapshot_at >= reached


def _read(scratch: Path) -> _Journal:
    try:
        return _Journal.model_validate_json((scratch / SENT_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return _Journal()


def _write(scratch: Path, journal: _Journal) -> None:
    write_atomically(scratch / SENT_FILE, journal.model_dump_json().encode())


@contextmanager
def locked(scratch: Path) -> Iterator[None]:
    """Lock the folder: a complete and a partial may be published at the same time."""
    folder = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
