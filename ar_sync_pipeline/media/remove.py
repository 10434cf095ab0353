"""Removes a media file that the sender no longer has, if its content is unchanged."""

from __future__ import annotations

import os
import stat
from enum import StrEnum
from pathlib import Path

from ar_sync_pipeline.archive.member_names import folders_of
from ar_sync_pipeline.files import HeldFolder, sha256_of
from ar_sync_pipeline.media.folded_names import is_reached_otherwise
from ar_sync_pipeline.media.safe_paths import media_name_problem, open_parent


class Removal(StrEnum):
    """Result of `remove_media`."""

    REMOVED = "removed"
    GONE = "gone"
    KEPT = "kept"
    RENAMED = "renamed"


def remove_media(folder: Path, path: str, *, size_bytes: int, sha256: str) -> Removal:
    """Remove a file below the media folder if it has this content; no link is followed.

    A file with other content, an entry that is not a regular file, and a path through a link stay:
    they did not come from the sender. So does a file that also has another spelling of its path: it
    may be what the sender renamed.

    Args:
        path: Path relative to the media folder.

    Raises:
        OSError: The operating system refuses.
    """
    if media_name_problem(path) is not None:
        return Removal.KEPT
    try:
        with open_parent(folder, path) as (parent, name):
            if not _holds(parent, name, size_bytes, sha256):
                return Removal.KEPT
            if _has_other_path(folder, path):
                return Removal.RENAMED
            os.unlink(name, dir_fd=parent)
            os.fsync(parent)
    except FileNotFoundError:
        return Removal.GONE
    except NotADirectoryError:
        return Removal.KEPT
    return Removal.REMOVED


def _has_other_path(folder: Path, path: str) -> bool:
    for part in (path, *folders_of(path)):
        with open_parent(folder, part) as (parent, name):
            if is_reached_otherwise(HeldFolder(folder, parent), name):
                return True
    return False


def _holds(parent: int, name: str, size_bytes: int, sha256: str) -> bool:
    facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISREG(facts.st_mode) or facts.st_size != size_bytes:
        return False
    return sha256_of(parent, name) == sha256
