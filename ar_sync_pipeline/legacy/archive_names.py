"""Names of the old system's archives: ``backup_2017-09-25__03_30_00.tar.gz``, ``NEW_`` in front.

They say the city's local time, to the second, and not whether the archive is a complete or a
partial: that is said by the folder. Where a file leaves its folder its kind is put into the name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveKind, ArchiveName

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

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
    """The name of an old archive.

    Attributes:
        snapshot_at: the local time of the name as an instant, aware UTC; see `instant_of`.
        stamp: the local time as it stands in the name.
    """

    stamp: str

    @property
    def applied(self) -> str:
        """The file name once the archive has been taken over, in the folder of its kind."""
        return f"backup_{self.stamp}.tar.gz"

    @property
    def waiting(self) -> str:
        """The file name where archives of both kinds lie together."""
        return f"{WAITING_PREFIX}backup_{self.kind}_{self.stamp}.tar.gz"

    @classmethod
    def read(cls, filename: str, zone: ZoneInfo, folder: ArchiveKind | None = None) -> Self | None:
        """Read a file name; None for anything that is not exactly one.

        Args:
            filename: waiting or applied, with or without the kind in it.
            zone: the city's.
            folder: the kind of archive that the file's folder holds; None: the name must say it.
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
    """Return the instant that a name's local time means; there always is one (D37).

    An hour that the end of daylight saving repeats is read as the one nearer to ``near``, else as
    the first of the two. A time that its beginning skips is read by the clock before it.

    Args:
        near: about when the archive was made, aware UTC.

    Raises:
        ValueError: it is no date and time of this millennium's archives.
    """
    local = datetime.strptime(stamp, _STAMP_FORMAT)  # noqa: DTZ007  the zone comes next
    if not _EARLIEST_YEAR <= local.year <= _LATEST_YEAR:
        raise ValueError(stamp)
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if near is not None and is_repeated(stamp, zone):
        return min((first, second), key=lambda at: abs(at - near)).astimezone(UTC)
    return first.astimezone(UTC)


def is_repeated(stamp: str, zone: ZoneInfo) -> bool:
    """Return whether the end of daylight saving makes two instants of a name's local time."""
    local = datetime.strptime(stamp, _STAMP_FORMAT).replace(tzinfo=zone)
    offsets = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
    return None not in offsets and offsets[0] > offsets[1]  # type: ignore[operator]
