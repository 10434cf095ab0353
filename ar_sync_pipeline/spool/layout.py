"""Folders of the spool: ``ls`` shows the state of every archive.

The path of the spool comes from the settings and may be a link. Others may write to its folders,
so each access opens a folder relative to the descriptor of the spool, never through a link.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ar_sync_pipeline.archive.spool_names import ARCHIVE_FOLDERS, INCOMING, RECEIPTS
from ar_sync_pipeline.files import FileEntry, HeldFolder
from ar_sync_pipeline.spool.errors import SpoolLayoutError, SpoolMissingError, access_to

PARKED = "parked"
QUARANTINE = "quarantine"
FOLDERS = (*ARCHIVE_FOLDERS, INCOMING, PARKED, QUARANTINE, RECEIPTS)


def prepare_spool(spool: Path) -> None:
    """Make missing folders, and check that files can be renamed between all of them.

    Raises:
        SpoolMissingError: The spool does not exist. It is never made, because an empty folder
            would hide an unmounted disk.
        SpoolLayoutError: An entry is not a folder, or is on another file system.
        SpoolAccessError: The operating system refuses.
    """
    with open_spool(spool) as held:
        device = os.fstat(held.fd).st_dev
        for name in FOLDERS:
            with access_to(spool / name):
                held.make_folder(name)
                found = held.facts(name)
            if found is None or not stat.S_ISDIR(found.st_mode):
                raise _no_folder(spool / name)
            if found.st_dev != device:
                raise SpoolLayoutError(
                    f"{spool / name} is on another file system than {spool}",
                    remedy="keep the whole spool on one file system, so that archives can be"
                    " renamed between its folders",
                )


@contextmanager
def open_spool(spool: Path) -> Iterator[HeldFolder]:
    """Open the spool.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses, here or inside the block.
    """
    with access_to(spool):
        try:
            held = HeldFolder.open(spool, follow=True)
        except (FileNotFoundError, NotADirectoryError):
            raise SpoolMissingError(spool) from None
        with held:
            yield held


@contextmanager
def open_folder(spool: Path, name: str) -> Iterator[HeldFolder]:
    """Open a folder of the spool.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolLayoutError: The folder is a link or a file.
        SpoolAccessError: The operating system refuses, here or inside the block.
    """
    with open_spool(spool) as held, access_to(spool / name), _subfolder(held, name) as folder:
        yield folder


def regular_files(spool: Path, name: str) -> list[FileEntry]:
    """Return the regular files of a folder; none if it is missing. See `open_folder`."""
    with open_spool(spool) as held, access_to(spool / name):
        try:
            folder = _subfolder(held, name)
        except FileNotFoundError:
            return []
        with folder:
            return folder.regular_files()


def spool_of(path: Path) -> Path:
    """Return the spool that contains a file."""
    return path.parent.parent


@contextmanager
def folder_of(path: Path) -> Iterator[HeldFolder]:
    """Open the folder of the spool that contains a file; see `open_folder`."""
    with open_folder(spool_of(path), path.parent.name) as folder:
        yield folder


def _subfolder(held: HeldFolder, name: str) -> HeldFolder:
    try:
        return held.subfolder(name)
    except OSError as error:
        # Linux reports ENOTDIR for a link, too; other systems report ELOOP.
        if error.errno in {errno.ENOTDIR, errno.ELOOP}:
            raise _no_folder(held.path / name) from error
        raise


def _no_folder(path: Path) -> SpoolLayoutError:
    return SpoolLayoutError(
        f"{path} is a symbolic link or a file, not a folder",
        remedy="move it away; the next load makes the folder",
    )
