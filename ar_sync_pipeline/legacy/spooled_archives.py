"""Archives of the old system in the spool (see `archive_names`).

They are in the folders of the old sender: ``complete/`` and ``partial/``. An archive that was taken
over has its applied name, next to the converted archive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from ar_sync_pipeline.archive.errors import CorruptArchiveError, UnreadableArchiveError
from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveKind
from ar_sync_pipeline.archive.regular_file import open_regular_file
from ar_sync_pipeline.legacy.archive_format import first_modified_at
from ar_sync_pipeline.legacy.archive_names import OldArchiveName, instant_of, is_repeated
from ar_sync_pipeline.spool.layout import PARKED, QUARANTINE, folder_of, regular_files
from ar_sync_pipeline.spool.states import SpooledArchive, SpoolState

_UPLOAD_PAUSE = timedelta(seconds=30)
_NUMBER = re.compile(r"\.[0-9]+\Z")


def list_old_archives(spool: Path, zone: ZoneInfo) -> list[SpooledArchive]:
    """Return every old archive in the spool, oldest first.

    Args:
        spool: Path of the spool.
        zone: Time zone of the names.
    """
    found = [
        *_in_folder(spool, PARKED, SpoolState.PARKED, zone, None),
        *_in_folder(spool, QUARANTINE, SpoolState.QUARANTINED, zone, None),
    ]
    for kind in ArchiveKind:
        found += _in_folder(spool, kind, None, zone, kind)
    return sorted(found, key=lambda archive: (archive.name.snapshot_at, archive.path))


def list_old_candidates(spool: Path, zone: ZoneInfo, now: datetime) -> list[SpooledArchive]:
    """Return waiting and parked old archives, oldest first, without unfinished uploads (D10).

    The old sender uploads under the final name, so only the mtime shows an unfinished upload.

    Args:
        spool: Path of the spool.
        zone: Time zone of the names.
        now: Current time, aware UTC.
    """
    open_states = {SpoolState.WAITING, SpoolState.PARKED}
    return [
        archive
        for archive in list_old_archives(spool, zone)
        if archive.state in open_states and not written_within(archive.path, _UPLOAD_PAUSE, now)
    ]


def written_within(path: Path, span: timedelta, now: datetime) -> bool:
    """Return whether a file was written within a duration; a time in the future does not count."""
    with folder_of(path) as folder:
        facts = folder.file_facts(path.name)
    if facts is None:  # a load renamed it meanwhile
        return False
    return 0 <= now.timestamp() - facts.st_mtime < span.total_seconds()


def exact_name(path: Path, name: OldArchiveName, zone: ZoneInfo) -> OldArchiveName:
    """Return the name of an archive with its unambiguous time (D37).

    The times in an archive of the repeated hour tell which of the two it is.

    Raises:
        UnreadableArchiveError: The file cannot be opened.
        CorruptArchiveError: It is not a regular file.
    """
    if not is_repeated(name.stamp, zone):
        return name
    with open_regular_file(path) as file:
        near = first_modified_at(file)
    return replace(name, snapshot_at=instant_of(name.stamp, zone, near))


def _listed_name(path: Path, name: OldArchiveName, zone: ZoneInfo) -> OldArchiveName:
    try:
        return exact_name(path, name, zone)
    except (CorruptArchiveError, UnreadableArchiveError):
        return name  # whoever takes the archive reports the error


def _in_folder(
    spool: Path, folder: str, state: SpoolState | None, zone: ZoneInfo, kind: ArchiveKind | None
) -> Iterator[SpooledArchive]:
    for entry in regular_files(spool, folder):
        plain = _NUMBER.sub("", entry.name) if state is SpoolState.QUARANTINED else entry.name
        name = OldArchiveName.read(plain, zone, kind)
        if name is None:
            continue
        waiting = entry.name.startswith(WAITING_PREFIX)
        by_name = SpoolState.WAITING if waiting else SpoolState.APPLIED
        path = spool / folder / entry.name
        exact = _listed_name(path, name, zone)
        yield SpooledArchive(exact, path, state or by_name, entry.facts.st_size)
