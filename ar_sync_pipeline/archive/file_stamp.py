"""Metadata of a file that shows whether the file changed since.

The rule is that of git's index: inode, size, mtime and ctime, which no program can set back. Two
changes within one tick of the file system's clock look the same, so a file that changed just now
has no stamp (git's Documentation/technical/racy-git.txt).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple, Self

_STABLE_AFTER_NS = 2_000_000_000
_LARGEST = 2**63 - 1


class FileStamp(NamedTuple):
    """State of a file; equal stamps mean equal bytes. It is small: each media file has one.

    Every number fits SQLite, whatever the file system says.
    """

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, facts: os.stat_result) -> Self:
        """Create a stamp from a ``stat`` result."""
        # Some file systems use all 64 bits of an inode. A wrong clock or `touch` sets times after
        # 2262, which ext4 and others keep.
        device, inode = facts.st_dev & _LARGEST, facts.st_ino & _LARGEST
        times = (facts.st_mtime_ns, facts.st_ctime_ns)
        return cls(device, inode, facts.st_size, *(max(min(t, _LARGEST), -_LARGEST) for t in times))


def steady_stamp(path: Path | str) -> FileStamp | None:
    """Return the stamp of a file; None if the file is missing or changed too recently.

    Take the stamp before you hash the content: the hash is valid while the stamp is equal.
    """
    try:
        facts = os.lstat(path)
    except OSError:
        return None
    return stamp_if_steady(facts)


def stamp_if_steady(facts: os.stat_result) -> FileStamp | None:
    """Return the stamp of a ``stat`` result of just now; None if the file changed too recently."""
    is_stable = time.time_ns() - facts.st_ctime_ns > _STABLE_AFTER_NS
    return FileStamp.of(facts) if is_stable else None
