"""What the file system says of a file, by which a later look knows that nobody wrote to it.

The same rule as in git's index: inode, size, mtime and ctime, which no program can set back. A
change within the clock's tick of the last one would not show, so a file that was changed just now
has no stamp (git's Documentation/technical/racy-git.txt).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

_SETTLED_AFTER_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file's state; two equal stamps mean the same bytes. There is one for each picture."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, facts: os.stat_result) -> Self:
        """From what ``stat`` says."""
        return cls(
            device=facts.st_dev,
            inode=facts.st_ino,
            size_bytes=facts.st_size,
            modified_ns=facts.st_mtime_ns,
            changed_ns=facts.st_ctime_ns,
        )


def steady_stamp(path: Path) -> FileStamp | None:
    """A file's stamp; None if it is absent, or was changed so lately that a stamp proves nothing.

    Take it before the content is hashed: while it stays equal, the hash stays right.
    """
    try:
        facts = os.lstat(path)
    except OSError:
        return None
    settled = time.time_ns() - facts.st_ctime_ns > _SETTLED_AFTER_NS
    return FileStamp.of(facts) if settled else None
