"""States of an archive in the spool; each change of state is one rename.

::

    waiting ◄─► applied                 complete/NEW_backup_… ◄─► complete/backup_…
       │ ▲
       ▼ │
     parked                             parked/NEW_backup_…      and its reason file
       │
       ▼
    quarantined                         quarantine/NEW_backup_…  and its reason file

The ledger in the receiver's database, not the name, says what was applied. Every step here can be
repeated, so after a run was killed between commit and rename, the next run completes the rename.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from ar_sync_pipeline.archive.microseconds import nearest_instant
from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveKind, ArchiveName
from ar_sync_pipeline.archive.spool_names import INCOMING, RECEIPTS
from ar_sync_pipeline.disk_errors import is_full
from ar_sync_pipeline.errors import ArSyncError, TerminalError
from ar_sync_pipeline.files import TEMPORARY_PREFIX, HeldFolder, sha256_of
from ar_sync_pipeline.spool.errors import ArchiveGoneError, SpoolAccessError, access_to
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.layout import PARKED, QUARANTINE, folder_of, open_folder, regular_files
from ar_sync_pipeline.spool.ownership import may_be_copied_now, take_ownership
from ar_sync_pipeline.spool.reasons import (
    VerifiedFile,
    explains_nothing,
    forget_reason,
    read_reason,
    write_reason,
)

_COMPARE = "compare the two files; a snapshot has only one archive"
_NUMBERED = re.compile(r"(?P<name>.+\.tar)(\.[0-9]+)?", re.ASCII)


class SpoolState(StrEnum):
    """State of an archive in the spool."""

    WAITING = "waiting"
    APPLIED = "applied"
    PARKED = "parked"
    QUARANTINED = "quarantined"


@dataclass(frozen=True)
class SpooledArchive:
    """An archive file in the spool.

    Attributes:
        name: Parsed file name.
        path: Path of the file.
        state: State by folder and name; the ledger may know better.
        size_bytes: Size of the file in bytes.
    """

    name: ArchiveName
    path: Path
    state: SpoolState
    size_bytes: int


def list_waiting(spool: Path) -> list[SpooledArchive]:
    """Return waiting archives, oldest snapshot first; never one that is still uploaded (D10)."""
    return [a for a in _queue(spool) if a.state is SpoolState.WAITING]


def is_waiting(spool: Path, kind: ArchiveKind) -> bool:
    """Return whether an archive of a kind waits."""
    return any(archive.name.kind is kind for archive in list_waiting(spool))


def list_applied(spool: Path) -> list[SpooledArchive]:
    """Return retained applied archives, oldest snapshot first."""
    return [a for a in _queue(spool) if a.state is SpoolState.APPLIED]


def list_parked(spool: Path) -> list[SpooledArchive]:
    """Return parked archives, oldest snapshot first."""
    return _sorted(_archives(spool, PARKED, SpoolState.PARKED))


def list_quarantined(spool: Path) -> list[SpooledArchive]:
    """Return quarantined archives, oldest snapshot first."""
    return _sorted(_archives(spool, QUARANTINE, SpoolState.QUARANTINED))


def mark_applied(spool: Path, archive: SpooledArchive) -> SpooledArchive:
    """Rename an archive to its applied name; call it after the commit (D11).

    Raises:
        ArchiveGoneError: The file exists under neither name.
        SpoolAccessError: The operating system refuses.
    """
    target = spool / archive.name.kind / archive.name.applied
    take_ownership(archive.path)
    _move(spool, archive.path, target)
    forget_reason(spool / PARKED / archive.name.waiting)
    return SpooledArchive(archive.name, target, SpoolState.APPLIED, archive.size_bytes)


def park(
    spool: Path,
    archive: SpooledArchive,
    error: ArSyncError,
    *,
    at: datetime,
    verified: bool = False,
    lacking: Lacking | None = None,
) -> SpooledArchive:
    """Park an archive until something changes; a parked one keeps the time since it is parked.

    On a full disk it is parked without a new reason file, so that it does not stop the others. If
    another archive is parked under its name, it is quarantined, unless only it is verified: a file
    that somebody made must not replace the only copy of an archive.

    Args:
        error: Error whose problem and remedy are written to the reason file.
        at: Current time, aware UTC.
        verified: Whether the whole archive was read and verified; the next check then does not
            read it again.
        lacking: What the receiver lacks of the archive.

    Raises:
        ArchiveGoneError: The file is in neither folder.
        SpoolAccessError: The operating system refuses.
    """
    target = spool / PARKED / archive.name.waiting
    known = VerifiedFile.of(archive.path) if verified else None
    replaces = verified and not _is_verified(target)
    same = None if replaces else _is_same_archive(archive.path, target)
    if same is False:
        return _quarantine_newcomer(spool, archive, at)
    _write_reason_if_space(target, error, at, known, lacking)
    if same:
        # The parked file stays: another account may still have the other one open for writing.
        _remove(archive.path)
    else:
        _move(spool, archive.path, target)
    return SpooledArchive(archive.name, target, SpoolState.PARKED, archive.size_bytes)


def unpark(spool: Path, archive: SpooledArchive) -> SpooledArchive:
    """Rename an archive to its waiting name, as a file of this account, and remove its reason.

    It is a parked one, or an applied one that the ledger has forgotten.

    Raises:
        ArchiveGoneError: The file is in neither folder.
        SpoolAccessError: The operating system refuses.
    """
    target = spool / archive.name.kind / archive.name.waiting
    take_ownership(archive.path)
    _move(spool, archive.path, target)
    forget_reason(spool / PARKED / archive.name.waiting)
    return SpooledArchive(archive.name, target, SpoolState.WAITING, archive.size_bytes)


def quarantine(
    spool: Path, archive: SpooledArchive, error: ArSyncError, *, at: datetime
) -> SpooledArchive:
    """Move an archive that can never be applied to the quarantine, for an operator.

    A second archive of the same name gets a number appended, so the first is never lost.

    Raises:
        ArchiveGoneError: The file no longer exists.
        SpoolAccessError: The operating system refuses.
    """
    if archive.path.parent == spool / QUARANTINE:
        return _quarantine_again(spool, archive, error, at)
    waiting, name = archive.path.name, archive.name.waiting
    with folder_of(archive.path) as source, open_folder(spool, QUARANTINE) as quarantined:
        if source.file_facts(waiting) is None:
            found = _quarantined_before(spool, archive)
            forget_reason(archive.path)
            return found
        target = quarantined.path / _free_name(quarantined, name)
        write_reason(target, error, at)
        _rename(source, waiting, quarantined, target.name)
        forget_reason(archive.path)
    return SpooledArchive(archive.name, target, SpoolState.QUARANTINED, archive.size_bytes)


def clean_incoming(spool: Path, *, older_than: datetime, dry_run: bool = False) -> dict[Path, int]:
    """Delete files that interrupted uploads and killed writers left; an admission may be at work.

    Args:
        older_than: Limit of the mtime, aware UTC; a running or resumable upload must be younger.
        dry_run: Whether to find them only.

    Returns:
        The sizes of the deleted files in bytes.
    """
    deleted = {}
    own = [(name, TEMPORARY_PREFIX) for name in (PARKED, QUARANTINE, RECEIPTS)]
    for name, ours in ((INCOMING, ""), *own):
        with open_folder(spool, name) as folder:
            for entry in folder.regular_files():
                stale = entry.facts.st_mtime < older_than.timestamp()
                left = entry.name.startswith(ours) or (
                    name == PARKED and explains_nothing(folder, entry.name)
                )
                if not stale or not left:
                    continue
                if ours and may_be_copied_now(folder, entry.name):
                    continue
                if dry_run or folder.remove(entry.name):
                    deleted[folder.path / entry.name] = entry.facts.st_size
    return deleted


def _quarantine_again(
    spool: Path, archive: SpooledArchive, error: ArSyncError, at: datetime
) -> SpooledArchive:
    with folder_of(archive.path) as folder:
        if folder.file_facts(archive.path.name) is None:
            return _quarantined_before(spool, archive)
    write_reason(archive.path, error, at)
    return replace(archive, state=SpoolState.QUARANTINED)


def _quarantined_before(spool: Path, archive: SpooledArchive) -> SpooledArchive:
    """Return the archive as an earlier call quarantined it."""
    for found in reversed(list_quarantined(spool)):
        if found.name == archive.name and found.size_bytes == archive.size_bytes:
            return found
    raise ArchiveGoneError(archive.path)


def _queue(spool: Path) -> list[SpooledArchive]:
    """Return the waiting and applied archives.

    One that somebody moved into the folder of the other kind counts, unless its own folder has the
    name too; the next change of its state moves it to its own folder.
    """
    found = [archive for kind in ArchiveKind for archive in _archives(spool, kind)]
    at_home = {a.path.name for a in found if a.path.parent.name == a.name.kind}
    return _sorted(
        a for a in found if a.path.parent.name == a.name.kind or a.path.name not in at_home
    )


def _state_by_name(filename: str) -> SpoolState:
    waiting = filename.startswith(WAITING_PREFIX)
    return SpoolState.WAITING if waiting else SpoolState.APPLIED


def _archives(
    spool: Path, folder: str, state: SpoolState | None = None
) -> Iterator[SpooledArchive]:
    """Yield the archives of a folder; without a state, their names say it."""
    for entry in regular_files(spool, folder):
        match = _NUMBERED.fullmatch(entry.name)
        numbered = match is not None and match["name"] != entry.name
        if match is None or (numbered and state is not SpoolState.QUARANTINED):
            continue
        name = ArchiveName.parse(match["name"])
        if name is not None:
            path = spool / folder / entry.name
            by_name = state or _state_by_name(entry.name)
            yield SpooledArchive(name, path, by_name, entry.facts.st_size)


def _sorted(archives: Iterator[SpooledArchive] | list[SpooledArchive]) -> list[SpooledArchive]:
    return sorted(archives, key=lambda archive: (archive.name.snapshot_at, archive.path))


def _move(spool: Path, source: Path, target: Path) -> None:
    """Rename an archive to a name that belongs to it; a repeated call changes nothing.

    An existing file of the new name contains the same snapshot. If it has other content, one of the
    two is damaged or forged, so it is quarantined instead of overwritten; so is a link or a pipe. A
    folder is renamed where it is.
    """
    with folder_of(source) as left, folder_of(target) as right:
        if source == target:
            if left.file_facts(source.name) is None:
                raise ArchiveGoneError(target)
            return
        with access_to(target):
            right.move_folder_away(target.name)
            moved, there = left.file_facts(source.name), right.facts(target.name)
            if moved is None:
                if right.file_facts(target.name) is None:
                    raise ArchiveGoneError(source)
                return
            if there is not None and os.path.samestat(moved, there):
                # rename(2) between two names of one file removes neither.
                left.remove(source.name)
                return
            if there is not None and not _have_same_content(left, source.name, right, target.name):
                _quarantine_other(spool, right, target.name, there)
            _rename(left, source.name, right, target.name)


def _is_same_archive(source: Path, target: Path) -> bool | None:
    """Return whether the file of the new name has the same content; None if it is no other file."""
    with folder_of(source) as left, folder_of(target) as right, access_to(target):
        one, other = left.file_facts(source.name), right.file_facts(target.name)
        if one is None or other is None or os.path.samestat(one, other):
            return None
        return _have_same_content(left, source.name, right, target.name)


def _have_same_content(one: HeldFolder, name: str, other: HeldFolder, other_name: str) -> bool:
    """Return whether two files are equal; one that cannot be opened equals none."""
    facts, other_facts = one.file_facts(name), other.file_facts(other_name)
    if facts is None or other_facts is None or facts.st_size != other_facts.st_size:
        return False
    try:
        return sha256_of(one.fd, name) == sha256_of(other.fd, other_name)
    except PermissionError:
        return False


def _is_verified(parked: Path) -> bool:
    reason = read_reason(parked)
    return reason is not None and reason.is_verified(parked)


def _quarantine_newcomer(spool: Path, archive: SpooledArchive, at: datetime) -> SpooledArchive:
    error = TerminalError(
        f"{archive.path.name} is not the archive that is parked under its name", remedy=_COMPARE
    )
    with folder_of(archive.path) as folder:
        moved = _move_to_quarantine(spool, folder, archive.path.name, error, at)
    return SpooledArchive(archive.name, moved, SpoolState.QUARANTINED, archive.size_bytes)


def _quarantine_other(spool: Path, folder: HeldFolder, name: str, facts: os.stat_result) -> None:
    # The mtime comes from outside and may exceed the range of datetime.
    written_at = nearest_instant(facts.st_mtime_ns // 1000)
    error = TerminalError(
        f"another file named {name} with other content replaced it", remedy=_COMPARE
    )
    _move_to_quarantine(spool, folder, name, error, written_at)


def _move_to_quarantine(
    spool: Path, folder: HeldFolder, name: str, error: ArSyncError, at: datetime
) -> Path:
    with open_folder(spool, QUARANTINE) as quarantined:
        target = quarantined.path / _free_name(quarantined, name)
        _write_reason_if_space(target, error, at)
        _rename(folder, name, quarantined, target.name)
    return target


def _write_reason_if_space(
    archive: Path,
    error: ArSyncError,
    at: datetime,
    verified: VerifiedFile | None = None,
    lacking: Lacking | None = None,
) -> None:
    try:
        write_reason(archive, error, at, verified=verified, lacking=lacking)
    except SpoolAccessError as refused:
        if not is_full(refused):
            raise


def _remove(path: Path) -> None:
    with folder_of(path) as folder, access_to(path):
        if folder.remove(path.name):
            folder.sync()


def _rename(source: HeldFolder, name: str, target: HeldFolder, new_name: str) -> None:
    with access_to(target.path / new_name):
        try:
            source.move(name, target, new_name)
        except FileNotFoundError:
            if target.facts(new_name) is None:
                raise ArchiveGoneError(source.path / name) from None


def _free_name(folder: HeldFolder, name: str) -> str:
    """Return the name, with the first free number appended if the name is taken."""
    numbers = itertools.count(2)
    free = name
    while folder.facts(free) is not None:
        free = f"{name}.{next(numbers)}"
    return free
