"""The states of an archive in the spool, and the one rename between each two (design, section 6).

::

    waiting ──► applied                 complete/NEW_backup_… ──► complete/backup_…
       │ ▲
       ▼ │
     parked                             parked/NEW_backup_…      with its reason beside it
       │
       ▼
    quarantined                         quarantine/NEW_backup_…  with its reason beside it

The ledger in the receiver's database, not a name, says what was applied; a run that is killed
between commit and rename is healed by the next one, which finds every step here repeatable.
"""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveKind, ArchiveName
from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.spool.durable_files import TEMPORARY_PREFIX, move
from ar_sync_pipeline.spool.errors import ArchiveGoneError, access_to
from ar_sync_pipeline.spool.layout import INCOMING, PARKED, QUARANTINE, require_spool
from ar_sync_pipeline.spool.reasons import ReadFile, reason_path, write_reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ar_sync_pipeline.errors import ArSyncError

_NUMBERED = re.compile(r"(?P<name>.+\.tar)(\.[0-9]+)?", re.ASCII)


class SpoolState(StrEnum):
    """Where an archive stands."""

    WAITING = "waiting"
    APPLIED = "applied"
    PARKED = "parked"
    QUARANTINED = "quarantined"


@dataclass(frozen=True)
class SpooledArchive:
    """An archive file in the spool.

    Attributes:
        name: what its file name says of it.
        path: of the file.
        state: by folder and name; the ledger may know better.
        size_bytes: of the file.
    """

    name: ArchiveName
    path: Path
    state: SpoolState
    size_bytes: int


def list_waiting(spool: Path) -> list[SpooledArchive]:
    """Archives that wait to be applied, oldest snapshot first; never one still uploading (D10)."""
    return [a for a in _queue(spool) if a.state is SpoolState.WAITING]


def list_applied(spool: Path) -> list[SpooledArchive]:
    """Applied archives that are still kept, oldest snapshot first."""
    return [a for a in _queue(spool) if a.state is SpoolState.APPLIED]


def list_parked(spool: Path) -> list[SpooledArchive]:
    """Archives that cannot be applied yet, oldest snapshot first."""
    return _sorted(_archives(spool, PARKED, SpoolState.PARKED))


def list_quarantined(spool: Path) -> list[SpooledArchive]:
    """Archives that can never be applied, oldest snapshot first."""
    return _sorted(_archives(spool, QUARANTINE, SpoolState.QUARANTINED))


def mark_applied(spool: Path, archive: SpooledArchive) -> SpooledArchive:
    """Take ``NEW_`` off an archive that the ledger holds; to be called after the commit (D11).

    Raises:
        ArchiveGoneError: the file is under neither name.
        SpoolAccessError: the operating system refuses.
    """
    target = spool / archive.name.kind / archive.name.applied
    _move(spool, archive.path, target)
    with access_to(target):
        reason_path(spool / PARKED / archive.name.waiting).unlink(missing_ok=True)
    return SpooledArchive(archive.name, target, SpoolState.APPLIED, archive.size_bytes)


def park(
    spool: Path, archive: SpooledArchive, error: ArSyncError, *, at: datetime, sound: bool = False
) -> SpooledArchive:
    """Put an archive aside until something changes; one that is parked keeps its first instant.

    Args:
        error: why; its problem and remedy are written beside the archive.
        at: now, aware UTC.
        sound: whether all of it was read and nothing was wrong with it; the next look then need
            not read it again.

    Raises:
        ArchiveGoneError: the file is in neither place.
        SpoolAccessError: the operating system refuses.
    """
    target = spool / PARKED / archive.name.waiting
    with access_to(target):
        known = ReadFile.of(archive.path) if sound and archive.path.exists() else None
        write_reason(target, error, at, sound=known)
    _move(spool, archive.path, target)
    return SpooledArchive(archive.name, target, SpoolState.PARKED, archive.size_bytes)


def unpark(spool: Path, archive: SpooledArchive) -> SpooledArchive:
    """Let an archive wait again; one that waits already only loses a forgotten reason.

    Raises:
        ArchiveGoneError: the file is in neither place.
        SpoolAccessError: the operating system refuses.
    """
    target = spool / archive.name.kind / archive.name.waiting
    _move(spool, archive.path, target)
    with access_to(target):
        reason_path(spool / PARKED / archive.name.waiting).unlink(missing_ok=True)
    return SpooledArchive(archive.name, target, SpoolState.WAITING, archive.size_bytes)


def quarantine(
    spool: Path, archive: SpooledArchive, error: ArSyncError, *, at: datetime
) -> SpooledArchive:
    """Keep an archive that can never be applied for a person to look at.

    A second one of the same name gets a number behind it, so the first is never lost.

    Raises:
        ArchiveGoneError: the file vanished.
        SpoolAccessError: the operating system refuses.
    """
    if not archive.path.exists():
        return _quarantined_before(spool, archive)
    if archive.path.parent == spool / QUARANTINE:
        target = archive.path
    else:
        target = _free_name(spool / QUARANTINE / archive.name.waiting)
    with access_to(target):
        write_reason(target, error, at)
        if archive.path != target:
            _rename(archive.path, target)
            reason_path(archive.path).unlink(missing_ok=True)
    return SpooledArchive(archive.name, target, SpoolState.QUARANTINED, archive.size_bytes)


def clean_incoming(spool: Path, *, older_than: datetime) -> list[Path]:
    """Delete what cut uploads and killed writers left behind and nobody has touched since.

    Args:
        older_than: aware UTC; an upload that goes on or may be resumed must be younger.

    Returns:
        The deleted files.
    """
    deleted = []
    for folder, ours in (
        (INCOMING, ""),
        (PARKED, TEMPORARY_PREFIX),
        (QUARANTINE, TEMPORARY_PREFIX),
    ):
        for entry in regular_files(spool, folder):
            with access_to(spool / folder):
                stale = entry.stat(follow_symlinks=False).st_mtime < older_than.timestamp()
                if stale and entry.name.startswith(ours):
                    deleted.append(spool / folder / entry.name)
                    deleted[-1].unlink(missing_ok=True)
    return deleted


def _quarantined_before(spool: Path, archive: SpooledArchive) -> SpooledArchive:
    """What an earlier call made of an archive that is no longer where it was."""
    for found in reversed(list_quarantined(spool)):
        if found.name == archive.name and found.size_bytes == archive.size_bytes:
            return found
    raise ArchiveGoneError(archive.path)


def _queue(spool: Path) -> list[SpooledArchive]:
    """Waiting and applied archives, each in the folder of its kind."""
    found = []
    for kind in ArchiveKind:
        for archive in _archives(spool, kind, SpoolState.WAITING):
            if archive.name.kind is not kind:
                continue
            waiting = archive.path.name.startswith(WAITING_PREFIX)
            found.append(archive if waiting else replace(archive, state=SpoolState.APPLIED))
    return _sorted(found)


def _archives(spool: Path, folder: str, state: SpoolState) -> Iterator[SpooledArchive]:
    for entry in regular_files(spool, folder):
        match = _NUMBERED.fullmatch(entry.name)
        numbered = match is not None and match["name"] != entry.name
        if match is None or (numbered and state is not SpoolState.QUARANTINED):
            continue
        name = ArchiveName.parse(match["name"])
        if name is None:
            continue
        try:
            size_bytes = entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:  # renamed by a load while we look
            continue
        yield SpooledArchive(name, spool / folder / entry.name, state, size_bytes)


def regular_files(spool: Path, folder: str) -> list[os.DirEntry[str]]:
    """Regular files of a folder; symbolic links, pipes and devices are not files to us."""
    require_spool(spool)
    with access_to(spool / folder):
        try:
            with os.scandir(spool / folder) as entries:
                return [entry for entry in entries if entry.is_file(follow_symlinks=False)]
        except FileNotFoundError:
            return []


def _sorted(archives: Iterator[SpooledArchive] | list[SpooledArchive]) -> list[SpooledArchive]:
    return sorted(archives, key=lambda archive: (archive.name.snapshot_at, archive.path))


def _move(spool: Path, source: Path, target: Path) -> None:
    """Rename to a name that belongs to this archive; done before counts as done.

    A file of that name holds the same snapshot. If it has another size, one of the two was
    damaged or made up, so it is kept in quarantine instead of being overwritten.
    """
    if source == target:
        if not target.exists():
            raise ArchiveGoneError(target)
        return
    with access_to(target):
        if source.exists() and target.exists():
            there = target.stat()
            if there.st_size != source.stat().st_size:
                _set_aside(spool, target, datetime.fromtimestamp(there.st_mtime, UTC))
    _rename(source, target)


def _set_aside(spool: Path, displaced: Path, written_at: datetime) -> None:
    aside = _free_name(spool / QUARANTINE / displaced.name)
    error = TerminalError(
        f"another file named {displaced.name} with a different size took its place",
        remedy="compare the two; a snapshot has one archive only",
    )
    write_reason(aside, error, written_at)
    move(displaced, aside)


def _rename(source: Path, target: Path) -> None:
    with access_to(target):
        try:
            move(source, target)
        except FileNotFoundError:
            if source.parent.is_dir() and target.parent.is_dir() and not target.exists():
                raise ArchiveGoneError(source) from None
            if not target.exists():
                raise


def _free_name(target: Path) -> Path:
    """The name itself, or with the first number behind it that no archive has."""
    numbers = itertools.count(2)
    name = target
    while name.exists():
        name = target.with_name(f"{target.name}.{next(numbers)}")
    return name
