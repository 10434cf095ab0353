"""Putting staged media files into their places: all of a load's, or none.

`reveal` is called when nothing but the commit of the rows is left to do. What it replaces is kept
under temporary names until `settle` finishes it or takes it back, in the same process or, after a
kill, in the next load. Each step leaves traces on the disk from which `settle` tells what was
done; it can be interrupted and repeated itself.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from uuid import UUID

from ar_sync_pipeline.files import open_file
from ar_sync_pipeline.media.errors import MediaFolderError
from ar_sync_pipeline.media.journal import Journal, StagedFile, read_journal
from ar_sync_pipeline.media.safe_paths import TEMPORARY_PREFIX, open_parent
from ar_sync_pipeline.media.stage import MediaStage, explained

# What versions before the journal left.
_LEFTOVER_BEFORE = "[0-9a-f]{16}"
# A component is missing, or has become something else.
_NOT_THERE = (FileNotFoundError, NotADirectoryError)

Blaming = Callable[[UUID], AbstractContextManager[None]]


def reveal(stage: MediaStage, blaming: Blaming) -> None:
    """Give every staged file its name; a reader of a name sees the old file or the new one.

    A folder in the place of a file, or a file in that of a folder, is moved aside under a name
    with ``.moved-aside-`` in it, since the sender has something else there by now and nobody knows
    whether all of it came from there.

    Args:
        stage: the load's files.
        blaming: says of which archive an error is.

    Raises:
        MediaSpaceError: the disk has no room.
        MediaFolderError: a link or missing rights are in the way; `settle` takes back the rest.
    """
    folder, touched = stage.folder, _Folders(stage.folder)
    with explained(folder):
        stage.journal.sync()
    journal = read_journal(folder, stage.owner)
    if journal is None:
        return
    stage.is_renamed_into_place = True
    for step in (_prepare, _put):
        for file in journal:
            with blaming(file.archive_id), explained(folder, file.path):
                step(folder, file, touched)
        with explained(folder):
            touched.sync()


def settle(folder: Path, owner: str, is_committed: Callable[[frozenset[UUID]], bool]) -> None:
    """Finish what `reveal` did, or take all of it back, and remove staged files.

    Args:
        folder: the media folder.
        owner: whose files.
        is_committed: whether the load that applies these archives was committed.

    Raises:
        MediaFolderError: something cannot be renamed or removed; the next call tries again.
    """
    with explained(folder):
        journal = read_journal(folder, owner)
        if journal is None:
            return
        if journal.archives and is_committed(journal.archives):
            for file in journal:
                _finish(folder, file)
        else:
            _take_back(folder, journal)
        journal.remove()


def clean_leftovers(folder: Path, owner: str) -> int:
    """Remove what loads left that were killed before their journal was durable; returns how many.

    Only what has exactly the owner's temporary names is removed, and links are not followed. Not
    to be run while another process installs for the same owner, or before `settle`.

    Raises:
        MediaFolderError: a folder cannot be read, or a file not be removed.
    """
    leftover = re.compile(
        re.escape(TEMPORARY_PREFIX) + rf"({_LEFTOVER_BEFORE}|{owner}-[0-9a-f]{{8}}-[0-9]+(\.old)?)"
    )
    removed = 0
    try:
        for _, _, names, fd in os.fwalk(folder, onerror=_raise, follow_symlinks=False):
            for name in filter(leftover.fullmatch, names):
                if stat.S_ISREG(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=fd)
                    removed += 1
    except OSError as error:
        raise MediaFolderError(
            f"media folder {folder} cannot be cleaned ({error.strerror})",
            remedy="give this account the right to list and change it",
        ) from error
    return removed


class _Folders:
    """Folders whose entries are to reach the disk, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: set[str] = set()

    def add_of(self, file: StagedFile) -> None:
        """Note every folder that installing a file changes."""
        if file.has_its_folder:
            self._paths.add(file.path.rpartition("/")[0] or ".")
        else:
            self._paths.update([".", *file.folders][file.depth :])

    def sync(self) -> None:
        for path in sorted(self._paths):
            # Component by component: a whole path may be longer than the system takes at once.
            with suppress(*_NOT_THERE), open_parent(self._folder, f"{path}/_") as (fd, _):
                os.fsync(fd)
        self._paths.clear()


def _prepare(folder: Path, file: StagedFile, touched: _Folders) -> None:
    """Make the folders of a file, and keep what it replaces under a second name."""
    if file.has_its_folder and not file.replaces:
        return
    if not file.has_its_folder:
        _move_file_away(folder, file, file.folders[file.depth])
    touched.add_of(file)
    with open_parent(folder, file.path, create=True) as (parent, name):
        if _kind(parent, name) in {None, stat.S_IFDIR}:
            return
        for keep in (_link, _copy):
            with suppress(OSError):
                keep(parent, name, file.kept_name)
                return
        # Neither works for it, such as for a named pipe: `_put` renames it.


def _put(folder: Path, file: StagedFile, touched: _Folders) -> None:
    """Rename a file into its place, in which only what was kept or is moved aside is."""
    touched.add_of(file)
    with open_parent(folder, file.path) as (parent, name):
        kind = _kind(parent, name)
        if kind == stat.S_IFDIR:
            _rename(parent, name, file.moved_name(name))
        elif kind is not None and _kind(parent, file.kept_name) is None:
            _rename(parent, name, file.kept_name)
        if file.has_its_folder:
            _rename(parent, file.staged_name, name)
            return
        with open_parent(folder, file.staged_path) as (waiting, staged):
            os.rename(staged, name, src_dir_fd=waiting, dst_dir_fd=parent)


def _finish(folder: Path, file: StagedFile) -> None:
    if not file.replaces:
        # What somebody has put there meanwhile is removed as a leftover.
        return
    with suppress(*_NOT_THERE), open_parent(folder, file.path) as (parent, name):
        with suppress(FileNotFoundError):
            os.unlink(file.kept_name, dir_fd=parent)
        # A folder that was moved aside and is empty was no more than its name.
        with suppress(OSError):
            os.rmdir(file.moved_name(name), dir_fd=parent)


def _take_back(folder: Path, journal: Journal) -> None:
    touched = _Folders(folder)
    for file in journal:
        _restore(folder, file)
        touched.add_of(file)
    # Only now is a folder empty that was made for several files.
    for file in journal:
        for made in reversed(file.folders[file.depth :]):
            _remove_folder(folder, file, made)
    touched.sync()


def _restore(folder: Path, file: StagedFile) -> None:
    """Give a file's place back to what was there, and remove the file."""
    with suppress(*_NOT_THERE), open_parent(folder, file.path) as (parent, name):
        here = _inode(parent, name)
        if _kind(parent, file.moved_name(name)) is not None:
            if here == file.inode:
                os.unlink(name, dir_fd=parent)
            if here in {None, file.inode}:
                _rename(parent, file.moved_name(name), name)
        elif _kind(parent, file.kept_name) is None:
            if here == file.inode:
                os.unlink(name, dir_fd=parent)
        elif here in {None, file.inode}:
            _rename(parent, file.kept_name, name)
        else:
            # It was not replaced yet, or somebody has put something newer there.
            os.unlink(file.kept_name, dir_fd=parent)
    with suppress(*_NOT_THERE), open_parent(folder, file.staged_path) as (waiting, staged):
        os.unlink(staged, dir_fd=waiting)


def _move_file_away(folder: Path, file: StagedFile, path: str) -> None:
    """Make room for a folder where there is a regular file; links stay, and are an error later."""
    with open_parent(folder, path) as (parent, name):
        if _kind(parent, name) == stat.S_IFREG:
            _rename(parent, name, file.moved_name(name))


def _remove_folder(folder: Path, file: StagedFile, path: str) -> None:
    """Remove a folder that was made, and give its name back to the file that had it."""
    with suppress(*_NOT_THERE), open_parent(folder, path) as (parent, name):
        # Somebody may have put something there meanwhile.
        with suppress(OSError):
            os.rmdir(name, dir_fd=parent)
        aside = file.moved_name(name)
        if _kind(parent, name) is None and _kind(parent, aside) is not None:
            _rename(parent, aside, name)


def _link(parent: int, name: str, kept: str) -> None:
    os.link(name, kept, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)


def _copy(parent: int, name: str, kept: str) -> None:
    """For file systems without hard links, and files that this account must not link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(open_file(parent, name), "rb") as old:
        facts = os.fstat(old.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise IsADirectoryError(name)
        with os.fdopen(os.open(kept, flags, 0o600, dir_fd=parent), "wb") as new:
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
    """Return the type of what has this name, as in st_mode; None if nothing has it."""
    try:
        return stat.S_IFMT(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return None


def _inode(parent: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return None


def _raise(error: OSError) -> None:
    raise error
