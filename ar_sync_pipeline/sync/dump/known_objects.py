"""The database and schemas that the sender's archives were read from: a file in its scratch folder.

If it is lost, a database or schema that was replaced by another one of its name in the meantime is
not detected. It is not part of the journal of sent archives, which takes a while to read.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ar_sync_pipeline.export.object_ids import ObjectIds
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.sync.dump.sender_journal_file import locked, read_content

OBJECTS_FILE = "ar_sync_objects.json"
_MOST = 1_000


class _ObjectsFrom(BaseModel):
    """The ids of what the archives from a snapshot on were read from."""

    model_config = ConfigDict(frozen=True)

    snapshot_at: AwareDatetime
    ids: ObjectIds


class _Known(BaseModel):
    """Content of the file: one entry for each change, oldest first."""

    objects: tuple[_ObjectsFrom, ...] = ()

    def at(self, snapshot_at: datetime) -> ObjectIds | None:
        before = [one for one in self.objects if one.snapshot_at <= snapshot_at]
        return before[-1].ids if before else None


def remember_objects(scratch: Path, snapshot_at: datetime, ids: ObjectIds) -> None:
    """Record the ids of an archive in progress if they differ from those before."""
    if objects_of(scratch, snapshot_at) == ids:
        return
    with locked(scratch):
        others = [one for one in _read(scratch).objects if one.snapshot_at != snapshot_at]
        known = sorted(
            (*others, _ObjectsFrom(snapshot_at=snapshot_at, ids=ids)),
            key=lambda one: one.snapshot_at,
        )
        content = _Known(objects=tuple(known[-_MOST:]))
        write_atomically(scratch / OBJECTS_FILE, content.model_dump_json().encode())


def objects_of(scratch: Path, snapshot_at: datetime) -> ObjectIds | None:
    """Return the ids of what was read for a snapshot; None: unknown."""
    return _read(scratch).at(snapshot_at)


def databases_at(scratch: Path, dates: Iterable[datetime]) -> frozenset[int]:
    """Return the ids of the databases that were read for some snapshots, as far as known."""
    known = _read(scratch)
    found = map(known.at, dates)
    return frozenset(ids.database for ids in found if ids is not None)


def _read(scratch: Path) -> _Known:
    return read_content(scratch / OBJECTS_FILE, _Known) or _Known()
