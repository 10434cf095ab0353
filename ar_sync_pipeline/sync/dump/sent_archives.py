"""What the sender remembers of the archives it has sent: a small journal in its scratch folder.

With the receiver's position and a check of the spool it tells from where the next partial must
carry every change, and which snapshot was the newest one. Where the journal is lost:

- the next partial begins at the receiver's position, if that is consistent (`believed_checkpoint`),
  and carries again what waits in the spool;
- a receiver that never said where it is (or whose spool cannot be reached) leaves no point to begin
  at: the partial's window alone counts, the receiver reports a gap, and the next complete repairs;
- a snapshot is dated after the receiver's position and after what waits in its spool only;
- tables with column rules are carried whole once by the next partial;
- archives sent before are no longer missed when the receiver says nothing of them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ar_sync_pipeline.archive.manifest import Manifest, Watermark
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.files import write_atomically

SENT_FILE = "ar_sync_sent.json"
_REMEMBERED = timedelta(days=8)
_MOST_RULES = 1_000


class SentArchive(BaseModel):
    """An archive that was published.

    Attributes:
        name: without the prefix of waiting archives.
        since: the point from which a partial carries every change; None: nobody knows.
        heard: a receipt said what became of it, and was verified.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: ArchiveKind
    size_bytes: int
    since: Watermark | None
    watermark: Watermark
    sent_at: AwareDatetime
    heard: bool = False


class RulesFrom(BaseModel):
    """The column rules of the archives from a snapshot on, as `rule_digests` has them."""

    model_config = ConfigDict(frozen=True)

    snapshot_at: AwareDatetime
    digests: dict[str, str]


class _Journal(BaseModel):
    """What the file holds.

    Attributes:
        rules: oldest first, one for each change of the catalog's column rules.
        announced: points of archives whose upload has begun: the receiver may apply one although
            the sender was killed before it could note the archive as sent.
    """

    archives: tuple[SentArchive, ...] = ()
    announced: tuple[Watermark, ...] = ()
    rules: tuple[RulesFrom, ...] = ()


def announce(scratch: Path, manifest: Manifest, now: datetime) -> None:
    """Note the point of an archive before its upload begins; old ones are forgotten."""
    with locked(scratch):
        journal = _read(scratch)
        recent = [p for p in journal.announced if p.snapshot_at > now - _REMEMBERED]
        if manifest.watermark not in recent:
            announced = (*recent, manifest.watermark)
            _write(scratch, journal.model_copy(update={"announced": announced}))


def remember_sent(scratch: Path, manifest: Manifest, size_bytes: int, sent_at: datetime) -> None:
    """Note an archive as published; what was sent long before it is forgotten."""
    partial = manifest.kind is ArchiveKind.PARTIAL
    sent = SentArchive(
        name=manifest.name.applied,
        kind=manifest.kind,
        size_bytes=size_bytes,
        since=manifest.since if partial else None,
        watermark=manifest.watermark,
        sent_at=sent_at,
    )
    with locked(scratch):
        journal = _read(scratch)
        known = {archive.name: archive for archive in journal.archives} | {sent.name: sent}
        kept = [a for a in known.values() if a.sent_at > sent_at - _REMEMBERED]
        archives = tuple(sorted(kept, key=lambda a: a.watermark.snapshot_at))
        _write(scratch, journal.model_copy(update={"archives": archives}))


def remember_rules(scratch: Path, snapshot_at: datetime, digests: Mapping[str, str]) -> None:
    """Note the column rules of an archive that is being made, if the one before had others."""
    if _rules_before(_read(scratch), snapshot_at) == digests:
        return
    with locked(scratch):
        journal = _read(scratch)
        rules = [r for r in journal.rules if r.snapshot_at != snapshot_at]
        rules.append(RulesFrom(snapshot_at=snapshot_at, digests=dict(digests)))
        rules.sort(key=lambda one: one.snapshot_at)
        kept = tuple(rules[-_MOST_RULES:])
        _write(scratch, journal.model_copy(update={"rules": kept}))


def tables_with_other_rules(
    scratch: Path, since: Watermark, digests: Mapping[str, str]
) -> frozenset[str]:
    """The tables of which the archive of an earlier point holds other values in unchanged rows.

    Where nothing is known of it, those with column rules.
    """
    before = _rules_before(_read(scratch), since.snapshot_at)
    names = before.keys() | digests.keys()
    return frozenset(name for name in names if before.get(name) != digests.get(name))


def remember_heard(scratch: Path, names: Collection[str]) -> None:
    """Note of archives that their receipts were verified, so that these are read once only."""
    with locked(scratch):
        journal = _read(scratch)
        archives = tuple(
            archive.model_copy(update={"heard": True}) if archive.name in names else archive
            for archive in journal.archives
        )
        _write(scratch, journal.model_copy(update={"archives": archives}))


def read_sent(scratch: Path) -> tuple[SentArchive, ...]:
    """The archives sent in the last days, oldest snapshot first; none on a new machine."""
    return _read(scratch).archives


def read_points(scratch: Path) -> tuple[Watermark, ...]:
    """Every point of its history that the sender has put into an archive of the last days."""
    journal = _read(scratch)
    starts = [archive.since for archive in journal.archives if archive.since is not None]
    return (*starts, *(archive.watermark for archive in journal.archives), *journal.announced)


def _rules_before(journal: _Journal, snapshot_at: datetime) -> Mapping[str, str]:
    known = [one for one in journal.rules if one.snapshot_at <= snapshot_at]
    return known[-1].digests if known else {}


def _read(scratch: Path) -> _Journal:
    try:
        return _Journal.model_validate_json((scratch / SENT_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return _Journal()


def _write(scratch: Path, journal: _Journal) -> None:
    write_atomically(scratch / SENT_FILE, journal.model_dump_json().encode())


@contextmanager
def locked(scratch: Path) -> Iterator[None]:
    """A complete and a partial may be published at the same time."""
    folder = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
