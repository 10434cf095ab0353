"""The sender's announcement that a partial with changes will arrive in some seconds.

It is one small file in ``.incoming``, where the sender may write. It says no time of day, since the
clocks of the two servers may differ: the receiver counts from the mtime of the file, by its own
clock. The file is replaced by the next announcement, and without one retention deletes it. It only
makes the receiver start a load earlier: whatever is wrong with it, it is ignored.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

from pydantic import Field

from ar_sync_pipeline.archive.microseconds import nearest_instant
from ar_sync_pipeline.archive.spool_names import INCOMING
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.spool.layout import open_folder
from ar_sync_pipeline.spool.signed_json import MAX_BYTES, SignedJson, parse_signed

ANNOUNCEMENT_FILE = "next_partial.json"
# The time from the snapshot to the end of an upload; a longer one needs no early load.
_ARRIVES_WITHIN = timedelta(seconds=20)
LONGEST_SECONDS = 60
"""Most seconds that an announcement may say."""
# Of another host's file system, whose clock may differ.
_TOLERANCE = timedelta(seconds=5)


class Announcement(SignedJson):
    """What the sender announces.

    Attributes:
        announcement_id: Id of the announcement.
        seconds: Seconds from the writing of the file to the end of the window.
    """

    announcement_id: UUID
    seconds: Annotated[float, Field(ge=0, le=LONGEST_SECONDS)]


@dataclass(frozen=True)
class ExpectedArchive:
    """An archive that is about to arrive.

    Attributes:
        announcement_id: Id of the announcement.
        until: When it is no longer waited for, by the receiver's clock.
    """

    announcement_id: UUID
    until: datetime


def expected_archive(
    spool: Path, now: datetime, *, signing_keys: Collection[bytes]
) -> ExpectedArchive | None:
    """Return what a fresh announcement says; None: there is none, or it cannot be used."""
    try:
        with open_folder(spool, INCOMING) as folder:
            facts = folder.file_facts(ANNOUNCEMENT_FILE)
            if facts is None:
                return None
            age = now - nearest_instant(facts.st_mtime_ns // 1000)
            if not -_TOLERANCE <= age <= _ARRIVES_WITHIN + timedelta(seconds=LONGEST_SECONDS):
                return None
            content = folder.read(ANNOUNCEMENT_FILE, MAX_BYTES)
        what = f"{INCOMING}/{ANNOUNCEMENT_FILE}"
        found = parse_signed(Announcement, content, what=what, keys=signing_keys)
    except (ArSyncError, OSError):
        return None
    left = timedelta(seconds=found.seconds) + _ARRIVES_WITHIN - age
    return ExpectedArchive(found.announcement_id, now + left) if left > timedelta() else None
