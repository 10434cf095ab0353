"""Names of old archives: ``backup_2017-09-25__03_30_00.tar.gz``, with ``NEW_`` in front.

A name has the local time of the city, to the second, but not the kind of archive: the folder tells
the kind. If a file leaves its folder, its kind is added to the name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from zoneinfo import ZoneInfo

from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveKind, ArchiveName

_STAMP_FORMAT = "%Y-%m-%d__%H_%M_%S"
_EARLIEST_YEAR = 1990
_LATEST_YEAR = 8999
_NAME = re.compile(
    r"(?P<waiting>NEW_)?backup_((?P<kind>complete|partial)_)?"
    r"(?P<stamp>[0-9]{4}-[0-9]{2}-[0-9]{2}__[0-9]{2}_[0-9]{2}_[0-9]{2})\.tar\.gz",
    re.ASCII,
)


@dataclass(frozen=True)
class OldArchiveName(ArchiveName):
    """Name of an old archive.

    Attributes:
        snapshot_at: Time of the name, aware UTC; see `instant_of`.
        stamp: Local time as written in the name.
    """

    stamp: str

    @property
    def applied(self) -> str:
        """File name after the archive was taken over, in the folder of its kind."""
        return f"backup_{self.stamp}.tar.gz"

    @property
    def waiting(self) -> str:
        """File name in a folder with archives of both kinds."""
        return f"{WAITING_PREFIX}backup_{self.kind}_{self.stamp}.tar.gz"

    @classmethod
    def read(cls, filename: str, zone: ZoneInfo, folder: ArchiveKind | None = None) -> Self | None:
        """Parse a file name; return None for any other name.

        Args:
            filename: Waiting or applied name, with or without the kind in it.
            zone: Time zone of the city.
            folder: Kind of the archives in the folder; None: the name must contain the kind.
        """
        match = _NAME.fullmatch(filename)
        if match is None:
            return None
        kind = ArchiveKind(match["kind"]) if match["kind"] else folder
        if kind is None or (folder is not None and kind is not folder):
            return None
        try:
            instant = instant_of(match["stamp"], zone)
        except ValueError:
            return None
        return cls(kind, instant, match["stamp"])


def instant_of(stamp: str, zone: ZoneInfo, near: datetime | None = None) -> datetime:
    """Return the UTC time of the local time in a name; there always is one (D37).

    The end of daylight saving time repeats an hour: a time in it is the one nearer to ``near``,
    else the first of the two. The start of daylight saving time skips an hour: a time in it is read
    as if the clock had not changed.

    Args:
        stamp: Local time in the name.
        zone: Time zone of the city.
        near: Approximate time when the archive was made, aware UTC.

    Raises:
        ValueError: The text is not a date and time of this millennium.
    """
    local = datetime.strptime(stamp, _STAMP_FORMAT)  # noqa: DTZ007  the zone comes next
    if not _EARLIEST_YEAR <= local.year <= _LATEST_YEAR:
        raise ValueError(stamp)
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if near is not None and is_repeated(stamp, zone):
        return min((first, second), key=lambda at: abs(at - near)).astimezone(UTC)
    return first.astimezone(UTC)


def is_repeated(stamp: str, zone: ZoneInfo) -> bool:
    """Return whether the end of daylight saving time makes the local time in a name ambiguous."""
    local = datetime.strptime(stamp, _STAMP_FORMAT).replace(tzinfo=zone)
    offsets = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
    return None not in offsets and offsets[0] > offsets[1]  # type: ignore[operator]
