"""The spool's folders (design, section 6): the state of every archive is visible with ``ls``."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.errors import SpoolLayoutError, SpoolMissingError, access_to

if TYPE_CHECKING:
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
    require_spool(spool)
    with access_to(spool):
        device = spool.stat().st_dev
    for name in FOLDERS:
        folder = spool / name
        with access_to(folder):
            if not os.path.lexists(folder):
                folder.mkdir(exist_ok=True)
            found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise SpoolLayoutError(
                f"{folder} is not a folder", remedy="move it away, a folder is made in its place"
            )
        if found.st_dev != device:
            raise SpoolLayoutError(
                f"{folder} is on another file system than {spool}",
                remedy="keep the whole spool on one, since a change of state is one rename",
            )


def require_spool(spool: Path) -> None:
    """Raise `SpoolMissingError` if the spool is not there."""
    with access_to(spool):
        if not spool.is_dir():
            raise SpoolMissingError(spool)
