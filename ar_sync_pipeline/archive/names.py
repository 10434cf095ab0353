"""Names of archives: ``backup_<kind>_<snapshot instant>.tar``, ``NEW_`` in front while waiting.

The instant is that of the snapshot, in UTC with microseconds, so names sort in the order in
which archives must be applied and never repeat at the end of daylight saving (old system, D37).
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
    """The two kinds of archive: everything, or what changed in a window."""

    COMPLETE = "complete"
    PARTIAL = "partial"


@dataclass(frozen=True)
class ArchiveName:
    """The name of an archive, in either of its two states.

    Attributes:
        kind: complete or partial.
        snapshot_at: when the archive's snapshot was taken, aware UTC.
    """

    kind: ArchiveKind
    snapshot_at: datetime

    @property
    def applied(self) -> str:
        """The file name once the archive has been applied."""
        return f"backup_{self.kind}_{self.snapshot_at.astimezone(UTC):{_INSTANT_FORMAT}}.tar"

    @property
    def waiting(self) -> str:
        """The file name while the archive waits in the spool."""
        return WAITING_PREFIX + self.applied

    @classmethod
    def parse(cls, filename: str) -> Self | None:
        """Read a file name, waiting or applied; None for anything that is not exactly one."""
        match = _NAME.fullmatch(filename)
        if match is None:
            return None
        try:
            instant = datetime.strptime(match["instant"], _INSTANT_FORMAT).replace(tzinfo=UTC)
        except ValueError:
            return None
        return cls(ArchiveKind(match["kind"]), instant)
