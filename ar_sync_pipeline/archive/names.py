"""Names of archives: ``backup_<kind>_<snapshot time>.tar``, with ``NEW_`` in front while waiting.

The time is that of the snapshot in UTC with microseconds, so names sort in the order of
application and never repeat at the end of daylight saving time (old system, D37).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

WAITING_PREFIX = "NEW_"
_INSTANT_FORMAT = "%Y%m%dT%H%M%S.%fZ"
_NAME = re.compile(
    r"(?P<waiting>NEW_)?backup_(?P<kind>complete|partial)_"
    r"(?P<instant>[0-9]{8}T[0-9]{6}\.[0-9]{6}Z)\.tar",
    re.ASCII,
)


class ArchiveKind(StrEnum):
    """Kind of archive: everything, or the changes of a window."""

    COMPLETE = "complete"
    PARTIAL = "partial"


@dataclass(frozen=True)
class ArchiveName:
    """Name of an archive, waiting or applied.

    Attributes:
        kind: Complete or partial.
        snapshot_at: Time of the snapshot, aware UTC.
    """

    kind: ArchiveKind
    snapshot_at: datetime

    @property
    def applied(self) -> str:
        """File name of the archive after it was applied."""
        at = self.snapshot_at.astimezone(UTC)
        # The %Y of glibc does not pad years before 1000.
        return f"backup_{self.kind}_{at.year:04}{at:{_INSTANT_FORMAT.removeprefix('%Y')}}.tar"

    @property
    def waiting(self) -> str:
        """File name of the archive while it waits in the spool."""
        return WAITING_PREFIX + self.applied

    @classmethod
    def parse(cls, filename: str) -> Self | None:
        """Parse a waiting or applied file name; return None for any other name."""
        match = _NAME.fullmatch(filename)
        if match is None:
            return None
        try:
            instant = datetime.strptime(match["instant"], _INSTANT_FORMAT).replace(tzinfo=UTC)
        except ValueError:
            return None
        return cls(ArchiveKind(match["kind"]), instant)
