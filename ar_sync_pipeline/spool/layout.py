"""The spool's folders (design, section 6): the state of every archive is visible with ``ls``.

The spool itself is the operator's setting and may be a link. Others may write to its folders, so
each is opened relative to the spool's descriptor, never through a link, each time it is used.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.files import FileEntry, HeldFolder
from ar_sync_pipeline.spool.errors import SpoolLayoutError, SpoolMissingError, access_to

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INCOMING = ".incoming"
PARKED = "parked"
QUARANTINE = "quarantine"
RECEIPTS = "receipts"
FOLDERS = (*map(str, ArchiveKind), INCOMING, PARKED, QUARANTINE, RECEIPTS)


def prepare_spool(spool: Path) -> None:
    """Make the folders that are missing, and see that each can take part in renames.

    Raises:
        SpoolMissingError: the spool itself is not there; it is never made, since an unmounted
            disk would then be hidden by an empty folder.
        SpoolLayoutError: an entry is no folder, or on another file system.
        SpoolAccessError: the operating system refuses.
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
                    remedy="keep the whole spool on one, since a change of state is one rename",
                )


@contextmanager
def open_spool(spool: Path) -> Iterator[HeldFolder]:
    """Hold the spool.

    Raises:
        SpoolMissingError: it is not there.
        SpoolAccessError: the operating system refuses, here or inside the block.
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
    """Hold a folder of the spool.

    Raises:
        SpoolMissingError: the spool is not there.
        SpoolLayoutError: a link or a file is in the folder's place.
        SpoolAccessError: the operating system refuses, here or inside the block.
    """
    with open_spool(spool) as held, access_to(spool / name), _subfolder(held, name) as folder:
        yield folder


def regular_files(spool: Path, name: str) -> list[FileEntry]:
    """Regular files of a folder, none where it is missing; the errors are `open_folder`'s."""
    with open_spool(spool) as held, access_to(spool / name):
        try:
            folder = _subfolder(held, name)
        except FileNotFoundError:
            return []
        with folder:
            return folder.regular_files()


def spool_of(path: Path) -> Path:
    """Return the spool of a file that is in one of its folders."""
    return path.parent.parent


@contextmanager
def folder_of(path: Path) -> Iterator[HeldFolder]:
    """Hold the spool's folder that a file is in; the errors are `open_folder`'s."""
    with open_folder(spool_of(path), path.parent.name) as folder:
        yield folder


def _subfolder(held: HeldFolder, name: str) -> HeldFolder:
    try:
        return held.subfolder(name)
    except OSError as error:
        # Linux says ENOTDIR of a link, too, other systems ELOOP.
        if error.errno in {errno.ENOTDIR, errno.ELOOP}:
            raise _no_folder(held.path / name) from error
        raise


def _no_folder(path: Path) -> SpoolLayoutError:
    return SpoolLayoutError(
        f"{path} is a symbolic link or a file, not a folder",
        remedy="move it away, the next load makes a folder in its place",
    )
