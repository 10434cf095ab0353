"""Installs the staged media files of a load: all of them, or none.

`rename_into_place` is called just before the commit of the rows. It keeps what it replaces under
temporary names until `finish_or_undo` completes or reverts the renames, in the same process or,
after a kill, in the next load. The files on the disk show `finish_or_undo` which steps were done;
it can be interrupted and repeated itself.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from uuid import UUID

from ar_sync_pipeline.archive.member_names import MAX_NAME_CHARS
from ar_sync_pipeline.files import HeldFolder, create_file, open_file, status_of
from ar_sync_pipeline.media.durability import HAS_SYNCFS, Durability
from ar_sync_pipeline.media.folded_names import PROBE
from ar_sync_pipeline.media.journal import Journal, StagedFile, read_journal, taken_over
from ar_sync_pipeline.media.safe_paths import TEMPORARY_PREFIX, OpenParent, open_parent
from ar_sync_pipeline.media.stage import MediaStage, explained
from ar_sync_pipeline.progress import report_progress

# Temporary names of versions before the journal.
_LEFTOVER_BEFORE = "[0-9a-f]{16}"
# A component is missing or has another type by now.
_NOT_THERE = (FileNotFoundError, NotADirectoryError)

_MOST_FOLDERS = 64

Blaming = Callable[[UUID], AbstractContextManager[None]]


def rename_into_place(stage: MediaStage, blaming: Blaming, check_lock: Callable[[], None]) -> None:
    """Rename every staged file to its final name; a reader sees the old file or the new one.

    A folder that has the name of a file, or a file that has the name of a folder, is renamed to a
    name with ``.moved-aside-``, because it may contain data that did not come from the sender.

    Args:
        stage: The staged files of the load.
        blaming: Context manager that assigns an error to an archive.
        check_lock: Function that raises an error if this load has lost its lock, which it may have
            while its files became durable.

    Raises:
        MediaTakenOverError: The journal is gone, or that of another load.
        MediaSpaceError: The disk has too little free space.
        MediaFolderError: A link or missing permissions block a rename; `finish_or_undo` undoes the
            others.
    """
    folder, touched = stage.folder, _Folders(stage.folder)
    with explained(folder):
        stage.durability.flush()
        stage.journal.sync()
    if not stage.journal.has_files:
        return
    check_lock()
    journal = read_journal(folder, stage.owner)
    if journal is None or journal.load != stage.journal.load:
        raise taken_over(folder)
    stage.is_renamed_into_place = True
    with closing(OpenParent()) as parents:
        for step in (_prepare, _put) if stage.needs_preparation else (_put,):
            for file in journal:
                try:
                    step(folder, file, touched, parents)
                except Exception:
                    with blaming(file.archive_id), explained(folder, file.path):
                        raise
                report_progress()
            with explained(folder):
                touched.sync()


def finish_or_undo(
    folder: Path,
    owner: str,
    is_committed: Callable[[frozenset[UUID]], bool],
    load: str | None = None,
) -> None:
    """Finish what `rename_into_place` did, or undo all of it, and remove staged files.

    Args:
        folder: The media folder.
        owner: Digits that mark the temporary names of this ledger.
        is_committed: Function that returns whether the load of these archives was committed.
        load: Digits of the load whose files are meant; None: of any load.

    Raises:
        MediaFolderError: A file cannot be renamed or removed, or the journal is not a file; the
            next call tries again.
    """
    with explained(folder):
        journal = read_journal(folder, owner)
        if journal is None or load not in {None, journal.load}:
            return
        if journal.archives and is_committed(journal.archives):
            for file in journal:
                _finish(folder, file)
                report_progress()
        else:
            _undo(folder, journal)
        journal.remove()


def clean_leftovers(folder: Path, owner: str) -> int:
    """Remove the files of loads that were killed before their journal was durable.

    Only files with the temporary names of the owner are removed; links are not followed. Call it
    after `finish_or_undo`, while no other process installs files of the same owner.

    Returns:
        The number of removed files.

    Raises:
        MediaFolderError: A folder cannot be read, or a file cannot be removed.
    """
    leftover = re.compile(
        re.escape(TEMPORARY_PREFIX)
        + rf"({_LEFTOVER_BEFORE}|{PROBE}|{owner}-[0-9a-f]{{8}}-[0-9]+(\.old)?)"
    )
    removed, paths = 0, [""]
    with explained(folder, action="cleaned in"), closing(OpenParent()) as parents:
        while paths:
            path = paths.pop()
            try:
                # Component by component: no descriptor per level, however deep the tree is.
                fd, _ = parents.of(folder, f"{path}_")
            except (*_NOT_THERE, PermissionError):
                if not path:
                    raise
                continue  # no file is staged in a folder that cannot be opened, as lost+found
            count, subfolders = _clean(HeldFolder(folder / path, fd), leftover)
            report_progress()
            removed += count
            paths += [f"{path}{name}/" for name in subfolders if len(path + name) < MAX_NAME_CHARS]
    return removed


def _clean(held: HeldFolder, leftover: re.Pattern[str]) -> tuple[int, list[str]]:
    """Remove leftovers of a folder without a list of them; return their number and subfolders."""
    removed, subfolders = 0, list[str]()
    with os.scandir(held.fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                subfolders.append(entry.name)
            elif leftover.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                removed += held.remove(entry.name)
    return removed, subfolders


class _Folders:
    """Folders to make durable; only some of their paths are kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: set[str] = set()
        self._durability = Durability()

    def add_of(self, file: StagedFile) -> None:
        """Add every folder that the installation of a file changes."""
        if HAS_SYNCFS and len(self._paths) > _MOST_FOLDERS:
            self._for_each(self._durability.add_folder)
        if file.has_its_folder:
            self._paths.add(file.path.rpartition("/")[0] or ".")
        else:
            self._paths.update([".", *file.folders][file.depth :])

    def sync(self) -> None:
        """Make the folders durable that were added since the last call."""
        self._for_each(os.fsync)
        self._durability.flush()
        self._durability.close()

    def _for_each(self, action: Callable[[int], object]) -> None:
        for path in sorted(self._paths):
            # Component by component: the whole path may exceed PATH_MAX.
            with suppress(*_NOT_THERE), open_parent(self._folder, f"{path}/_") as (fd, _):
                action(fd)
        self._paths.clear()


def _prepare(folder: Path, file: StagedFile, touched: _Folders, parents: OpenParent) -> None:
    """Make the folders of a file, and back up the file that it replaces."""
    if file.has_its_folder and not file.replaces:
        return
    if not file.has_its_folder:
        _move_file_away(folder, file, file.folders[file.depth])
    touched.add_of(file)
    parent, name = parents.of(folder, file.path, create=True)
    if _kind(parent, name) in {None, stat.S_IFDIR}:
        return
    for keep in (_link, _copy):
        with suppress(OSError):
            keep(parent, name, file.backup_name)
            return
    # Neither works for a named pipe, for example: `_put` renames it.


def _put(folder: Path, file: StagedFile, touched: _Folders, parents: OpenParent) -> None:
    """Rename a file to its final name; what had the name is backed up or moved aside."""
    touched.add_of(file)
    parent, name = parents.of(folder, file.path)
    kind = _kind(parent, name)
    if kind == stat.S_IFDIR:
        _rename(parent, name, file.moved_name(name))
    elif kind is not None and _kind(parent, file.backup_name) is None:
        _rename(parent, name, file.backup_name)
    if file.has_its_folder:
        _rename(parent, file.staged_name, name)
        return
    with open_parent(folder, file.staged_path) as (waiting, staged):
        os.rename(staged, name, src_dir_fd=waiting, dst_dir_fd=parent)


def _finish(folder: Path, file: StagedFile) -> None:
    if not file.replaces:
        # A file that appeared there meanwhile is removed as a leftover.
        return
    with suppress(*_NOT_THERE), open_parent(folder, file.path) as (parent, name):
        with suppress(FileNotFoundError):
            os.unlink(file.backup_name, dir_fd=parent)
        # A folder that was moved aside is removed if it is empty.
        with suppress(OSError):
            os.rmdir(file.moved_name(name), dir_fd=parent)


def _undo(folder: Path, journal: Journal) -> None:
    touched = _Folders(folder)
    for file in journal:
        _restore(folder, file)
        report_progress()
        touched.add_of(file)
    # A folder that was made for several files is empty only now.
    for file in journal:
        for made in reversed(file.folders[file.depth :]):
            _remove_folder(folder, file, made)
    touched.sync()


def _restore(folder: Path, file: StagedFile) -> None:
    """Restore what a file replaced, and remove the file."""
    with suppress(*_NOT_THERE), open_parent(folder, file.path) as (parent, name):
        here = _inode(parent, name)
        if _kind(parent, file.moved_name(name)) is not None:
            if here == file.inode:
                os.unlink(name, dir_fd=parent)
            if here in {None, file.inode}:
                _rename(parent, file.moved_name(name), name)
        elif _kind(parent, file.backup_name) is None:
            if here == file.inode:
                os.unlink(name, dir_fd=parent)
        elif here in {None, file.inode}:
            _rename(parent, file.backup_name, name)
        else:
            # The file was not replaced yet, or something newer has its name.
            os.unlink(file.backup_name, dir_fd=parent)
    with suppress(*_NOT_THERE), open_parent(folder, file.staged_path) as (waiting, staged):
        os.unlink(staged, dir_fd=waiting)


def _move_file_away(folder: Path, file: StagedFile, path: str) -> None:
    """Move aside a regular file that has the name of a folder; a link stays, an error later."""
    with open_parent(folder, path) as (parent, name):
        if _kind(parent, name) == stat.S_IFREG:
            _rename(parent, name, file.moved_name(name))


def _remove_folder(folder: Path, file: StagedFile, path: str) -> None:
    """Remove a folder that was made, and restore the file that had its name."""
    with suppress(*_NOT_THERE), open_parent(folder, path) as (parent, name):
        # The folder may contain other files by now.
        with suppress(OSError):
            os.rmdir(name, dir_fd=parent)
        aside = file.moved_name(name)
        if _kind(parent, name) is None and _kind(parent, aside) is not None:
            _rename(parent, aside, name)


def _link(parent: int, name: str, kept: str) -> None:
    os.link(name, kept, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)


def _copy(parent: int, name: str, kept: str) -> None:
    """Copy a file, for file systems without hard links and files that this account may not link."""
    with os.fdopen(open_file(parent, name), "rb") as old:
        facts = os.fstat(old.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise IsADirectoryError(name)
        with os.fdopen(create_file(kept, 0o600, parent), "wb") as new:
            try:
                shutil.copyfileobj(old, new)
                new.flush()
                os.fchmod(new.fileno(), stat.S_IMODE(facts.st_mode))
                os.utime(new.fileno(), ns=(facts.st_atime_ns, facts.st_mtime_ns))
                os.fsync(new.fileno())
            except BaseException:
                os.unlink(kept, dir_fd=parent)
                raise


def _rename(parent: int, name: str, other: str) -> None:
    os.rename(name, other, src_dir_fd=parent, dst_dir_fd=parent)


def _kind(parent: int, name: str) -> int | None:
    """Return the file type of a name, as in st_mode; None if the name does not exist."""
    facts = status_of(parent, name)
    return None if facts is None else stat.S_IFMT(facts.st_mode)


def _inode(parent: int, name: str) -> int | None:
    facts = status_of(parent, name)
    return None if facts is None else facts.st_ino
