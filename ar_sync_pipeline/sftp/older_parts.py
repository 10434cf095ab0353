"""Removal of the parts that interrupted uploads left in the spool, by the sender that made them.

The receiver removes them after days (`clean_incoming`); until then each run of a bad day would
leave one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import PurePosixPath

from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveName
from ar_sync_pipeline.archive.spool_names import INCOMING
from ar_sync_pipeline.errors import ParkedError
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline.sftp.spool_folders import list_names

_PART = re.compile(r"(?P<archive>.+\.tar)\.[0-9a-f]{16}(\.several)?\.part", re.ASCII)


GivenUp = Callable[[Collection[ArchiveName]], Collection[ArchiveName]]
"""Returns the sender's own archives of these that nobody sends or resumes."""


def remove_older_parts(
    session: SftpSession, spool: PurePosixPath, filename: str, given_up: GivenUp | None
) -> None:
    """Remove the parts of older archives of the same kind that the sender has given up.

    What the server refuses stays. The names of parts, and the clock of the server, tell neither
    which sender wrote them nor whether it still does.

    Args:
        session: Open session.
        spool: Path of the spool.
        filename: Name of the archive in the spool.
        given_up: Called if there are older parts; None: no archive is given up.
    """
    own = ArchiveName.parse(filename)
    with suppress(ParkedError):
        parts = [(name, _archive_of(name)) for name in list_names(session, spool / INCOMING)]
        older = {
            name: other
            for name, other in parts
            if own and other and other.kind is own.kind and other.snapshot_at < own.snapshot_at
        }
        gone = given_up({*older.values()}) if given_up and older else ()
        for name, other in older.items():
            if other in gone:
                session.remove(spool / INCOMING / name)


def _archive_of(part: str) -> ArchiveName | None:
    match = _PART.fullmatch(part)
    if match is None or not part.startswith(WAITING_PREFIX):
        return None
    return ArchiveName.parse(match["archive"])
