"""The old system's archives in the spool, until they have been taken over (see `old_names`).

They lie where the old sender put them: ``complete/`` and ``partial/``. What was taken over bears
its applied name and is what the converted archive beside it was made from.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveKind
from ar_sync_pipeline.archive.old_names import OldArchiveName
from ar_sync_pipeline.spool.errors import access_to
from ar_sync_pipeline.spool.layout import PARKED, QUARANTINE
from ar_sync_pipeline.spool.states import SpooledArchive, SpoolState, regular_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from zoneinfo import ZoneInfo

_UPLOAD_PAUSE = timedelta(seconds=30)
_NUMBER = re.compile(r"\.[0-9]+\Z")


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


def list_old_candidates(spool: Path, zone: ZoneInfo, now: datetime) -> list[SpooledArchive]:
    """The old archives that wait or are parked, oldest first; none that is being written (D10).

    The old sender uploads under the final name, so only time tells.

    Args:
        zone: in which the old sender named them.
        now: aware UTC.
    """
    open_states = {SpoolState.WAITING, SpoolState.PARKED}
    return [
        archive
        for archive in list_old_archives(spool, zone)
        if archive.state in open_states and not written_within(archive.path, _UPLOAD_PAUSE, now)
    ]


def written_within(path: Path, span: timedelta, now: datetime) -> bool:
    """Whether somebody wrote to a file so lately; a time in the future tells nothing."""
    with access_to(path):
        try:
            written_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:  # renamed by a load while we look
            return False
    return timedelta() <= now - written_at < span


def _in_folder(
    spool: Path, folder: str, state: SpoolState | None, zone: ZoneInfo, kind: ArchiveKind | None
) -> Iterator[SpooledArchive]:
    for entry in regular_files(spool, folder):
        plain = _NUMBER.sub("", entry.name) if state is SpoolState.QUARANTINED else entry.name
        name = OldArchiveName.read(plain, zone, kind)
        if name is None:
            continue
        try:
            size_bytes = entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:  # renamed by a load while we look
            continue
        waiting = entry.name.startswith(WAITING_PREFIX)
        by_name = SpoolState.WAITING if waiting else SpoolState.APPLIED
        yield SpooledArchive(name, spool / folder / entry.name, state or by_name, size_bytes)
