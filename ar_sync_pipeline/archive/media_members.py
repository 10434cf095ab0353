"""Offsets of the media files of an archive that has a media list, without all of them in memory."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from ar_sync_pipeline.archive.file_stamp import FileStamp
from ar_sync_pipeline.archive.manifest_media import MediaList
from ar_sync_pipeline.archive.tar_layout import Slot

_MARK_EVERY = 1000


class CarriedFile(NamedTuple):
    """A media file that an archive carries.

    Attributes:
        path: Path relative to the media folder.
        folder: Folder from which the file is read.
        name: Path of the file relative to this folder.
        stamp: Stamp that the file had when it was hashed; None: it is hashed while it is read.
    """

    path: str
    size_bytes: int
    sha256: str
    folder: Path
    name: str
    stamp: FileStamp | None

    @property
    def location(self) -> str:
        """Path of the file; joining a `Path` would cost as much as reading a small file."""
        return f"{self.folder}/{self.name}"


class MediaFiles(Protocol):
    """The media files of an archive, stored in the order of their paths."""

    def carried_after(self, path: str) -> Iterator[CarriedFile]:
        """Yield the carried files after a path in order; empty: all of them.

        Iterators in several threads are independent.
        """


class MediaMembers:
    """Slots of the carried files, which are the last members of the archive.

    The offset of every thousandth file is kept; the others are computed again from there.

    Args:
        listed: Entry of the media list in the manifest.
        files: The files of the list.
        start: Offset of the first header in the archive.

    Raises:
        ValueError: The files differ from those of the list.
    """

    def __init__(self, listed: MediaList, files: MediaFiles, start: int) -> None:
        self._files = files
        self._offsets, self._paths = [start], [""]
        self.start, self.end = start, start + listed.archive_bytes
        count, position = 0, start
        for slot, file in self._from(start, ""):
            count, position = count + 1, slot.end
            if count % _MARK_EVERY == 0:
                self._offsets.append(position)
                self._paths.append(file.path)
        if (count, position) != (listed.carried_count, self.end):
            raise ValueError("the media files given are not those that the media list carries")

    def from_offset(self, offset: int) -> Iterator[tuple[Slot, CarriedFile]]:
        """Yield the slots from the one on that contains an offset of the archive."""
        place = bisect.bisect_right(self._offsets, offset) - 1
        for slot, file in self._from(self._offsets[place], self._paths[place]):
            if slot.end > offset:
                yield slot, file

    def _from(self, position: int, path: str) -> Iterator[tuple[Slot, CarriedFile]]:
        for file in self._files.carried_after(path):
            slot = Slot.at(position, f"media/{file.path}", file.size_bytes, file.sha256)
            yield slot, file
            position = slot.end
