"""Which archives the sender has given up: no run sends or resumes them.

An archive is sent from the build folder of its run. The folder exists as long as the run is at work
or may be resumed, and so tells of every run on this machine, however it was started.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.sync.dump.build_folder import (
    BuildDamagedError,
    BuildMissingError,
    build_folders,
)
from ar_sync_pipeline.sync.dump.sender_journal import read_announced


class _Dumped(BaseModel):
    """What identifies the archive in a `TableDump`, which is as large as a manifest."""

    watermark: Watermark


def given_up(scratch: Path, archives: Collection[ArchiveName]) -> frozenset[ArchiveName]:
    """Return those of some archives whose upload this sender began and never continues.

    Another sender's are not among them, nor those that the journal has forgotten.
    """
    begun = {point.snapshot_at for point in read_announced(scratch)}
    own = {archive for archive in archives if archive.snapshot_at in begun}
    built = snapshots_in_builds(scratch) if own else set()
    return frozenset(archive for archive in own if archive.snapshot_at not in built)


def snapshots_in_builds(scratch: Path) -> set[datetime]:
    """Return the snapshots of the archives that runs send or may resume."""
    found = set[datetime]()
    for build in build_folders(scratch):
        with suppress(BuildMissingError, BuildDamagedError):
            found.add(build.read(_Dumped, "TableDump").watermark.snapshot_at)
    return found
