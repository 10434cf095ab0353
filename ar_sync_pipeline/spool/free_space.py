"""Free space of a disk, looked at before it is needed (design, section 6)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ar_sync_pipeline.spool.errors import access_to

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class FreeSpace:
    """How full a file system is, counted as ``df`` does.

    Attributes:
        free_bytes: what an ordinary user may still write; the reserve of root left out.
        usable_bytes: free and used together.
    """

    free_bytes: int
    usable_bytes: int

    @property
    def free_percent(self) -> float:
        """Free space in percent of what ordinary users can fill."""
        return 100.0 * self.free_bytes / self.usable_bytes if self.usable_bytes else 0.0

    def is_below(self, floor_percent: float) -> bool:
        """Return whether an incident is due."""
        return self.free_percent < floor_percent


def measure_free_space(path: Path) -> FreeSpace:
    """Look at the file system that holds ``path``.

    Raises:
        SpoolAccessError: the path is not there or not readable.
    """
    with access_to(path):
        facts = os.statvfs(path)
    used_blocks = facts.f_blocks - facts.f_bfree
    return FreeSpace(
        facts.f_bavail * facts.f_frsize, (used_blocks + facts.f_bavail) * facts.f_frsize
    )
