"""The clocks that the sender's dumps read: a file in its scratch folder.

If it is lost, nobody knows whether a clock was set back before: partials read every table with a
`changed_at` for the watermark until one of them has arrived.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.export.server_clock import ClockReading, longest_set_back
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.sync.dump.sender_journal_file import locked, read_content

CLOCKS_FILE = "ar_sync_server_clocks.json"
# Of eight days with windows of five minutes; 600 KB.
_MOST = 2_500


class _ReadFor(BaseModel):
    """The clocks that the dump of a snapshot read."""

    model_config = ConfigDict(frozen=True)

    snapshot_at: AwareDatetime
    clocks: ClockReading


class Reread(BaseModel):
    """A partial that read the large tables since the clock could not be compared with its start.

    Attributes:
        since: Starting point of the partial.
        at: Point of the partial itself.
    """

    model_config = ConfigDict(frozen=True)

    since: Watermark
    at: Watermark

    @property
    def until_then(self) -> timedelta:
        """How far the times of rows went back between the two points, as far as they show it."""
        return max(timedelta(), _oldest(self.since) - _oldest(self.at))


class _Known(BaseModel):
    """Content of the file."""

    readings: tuple[_ReadFor, ...] = ()
    reread: Reread | None = None


def remember_clocks(scratch: Path, snapshot_at: datetime, clocks: ClockReading) -> None:
    """Record what a dump in progress read; forget what no later reading is compared with."""
    with locked(scratch):
        known = _read(scratch)
        alike = [one for one in known.readings if one.clocks.has_starts_of(clocks)]
        readings = (*alike, _ReadFor(snapshot_at=snapshot_at, clocks=clocks))[-_MOST:]
        _write(scratch, _Known(readings=readings, reread=known.reread))


def remember_reread(scratch: Path, reread: Reread) -> None:
    """Record that a partial has read the large tables."""
    with locked(scratch):
        _write(scratch, _read(scratch).model_copy(update={"reread": reread}))


def last_reread(scratch: Path, since: Watermark) -> Reread | None:
    """Return the partial that read the large tables for a starting point; None without any."""
    known = _read(scratch).reread
    is_from = known is not None and known.since.snapshot_at == since.snapshot_at
    return known if is_from else None


def set_back_since(scratch: Path, snapshot_at: datetime, now: ClockReading) -> timedelta | None:
    """Return how far the database's clock went back since a snapshot at most; None: unknown."""
    known = _read(scratch).readings
    since = [one.clocks for one in known if one.snapshot_at == snapshot_at]
    return longest_set_back(since[-1], (one.clocks for one in known), now) if since else None


def _oldest(point: Watermark) -> datetime:
    return point.oldest_write_at or point.snapshot_at


def _write(scratch: Path, content: _Known) -> None:
    write_atomically(scratch / CLOCKS_FILE, content.model_dump_json().encode())


def _read(scratch: Path) -> _Known:
    return read_content(scratch / CLOCKS_FILE, _Known) or _Known()
