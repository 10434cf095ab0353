"""The old system's archives in the spool, until they have been taken over (see `old_names`).

They lie where the old sender put them: ``complete/`` and ``partial/``. What was taken over bears
its applied name and is what the converted archive beside it was made from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveKind
from ar_sync_pipeline.archive.old_names import OldArchiveName
from ar_sync_pipeline.spool.layout import PARKED, QUARANTINE
from ar_sync_pipeline.spool.states import SpooledArchive, SpoolState, regular_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from zoneinfo import ZoneInfo


def list_old_archives(spool: Path, zone: ZoneInfo) -> list[SpooledArchive]:
    """Every old archive in the spool, oldest first.

    Args:
        zone: in which the old sender named them.
    """
    found = [
        *_in_folder(spool, PARKED, SpoolState.PARKED, zone, None),
        *_in_folder(spool, QUARANTINE, SpoolState.QUARANTINED, zone, None),
    ]
    for kind in ArchiveKind:
        found += _in_folder(spool, kind, None, zone, kind)
    return sorted(found, key=lambda archive: (archive.name.snapshot_at, archive.path))


def list_old_candidates(spool: Path, zone: ZoneInfo) -> list[SpooledArchive]:
    """The old archives that wait or are parked, oldest first."""
    open_states = {SpoolState.WAITING, SpoolState.PARKED}
    return [archive for archive in list_old_archives(spool, zone) if archive.state in open_states]


def _in_folder(
    spool: Path, folder: str, state: SpoolState | None, zone: ZoneInfo, kind: ArchiveKind | None
) -> Iterator[SpooledArchive]:
    for entry in regular_files(spool, folder):
        name = OldArchiveName.read(entry.name, zone, kind)
        if name is None:
            continue
        try:
            size_bytes = entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:  # renamed by a load while we look
            continue
        waiting = entry.name.startswith(WAITING_PREFIX)
        by_name = SpoolState.WAITING if waiting else SpoolState.APPLIED
        yield SpooledArchive(name, spool / folder / entry.name, state or by_name, size_bytes)
