"""Free space of a disk, checked before it is needed."""

from __future__ import annotations

from pathlib import Path

from ar_sync_pipeline.files import FreeSpace, free_space
from ar_sync_pipeline.spool.errors import access_to


def measure_free_space(path: Path) -> FreeSpace:
    """Return the free space of the file system that contains ``path``.

    Raises:
        SpoolAccessError: The path does not exist or is not readable.
    """
    with access_to(path):
        return free_space(path)
