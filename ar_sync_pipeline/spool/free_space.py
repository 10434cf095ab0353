"""Free space of a disk, checked before it is needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ar_sync_pipeline.spool.errors import access_to

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class FreeSpace:
    """Free space of a file system, calculated as ``df`` does.

    Attributes:
        free_bytes: Bytes that an ordinary user can still write, without the reserve of root.
        usable_bytes: Free and used bytes together.
    """

    free_bytes: int
    usable_bytes: int

    @property
    def free_percent(self) -> float:
        """Free space in percent of the usable space."""
        return 100.0 * self.free_bytes / self.usable_bytes if self.usable_bytes else 0.0

    def is_below(self, floor_percent: float) -> bool:
        """Return whether free space is below a floor."""
        return self.free_percent < floor_percent


def measure_free_space(path: Path) -> FreeSpace:
    """Return the free space of the file system that contains ``path``.

    Raises:
        SpoolAccessError: The path does not exist or is not readable.
    """
    with access_to(path):
        facts = os.statvfs(path)
    used_blocks = facts.f_blocks - facts.f_bfree
    return FreeSpace(
        facts.f_bavail * facts.f_frsize, (used_blocks + facts.f_bavail) * facts.f_frsize
    )
