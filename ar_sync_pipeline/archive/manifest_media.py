"""Media files in a manifest: entries, or the member that lists them."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Self

from pydantic import model_validator

from ar_sync_pipeline.archive.manifest_fields import (
    ByteCount,
    Instant,
    MemberName,
    RowCount,
    Sha256,
    Strict,
)
from ar_sync_pipeline.archive.microseconds import from_microseconds, to_microseconds

MEDIA_LIST_MEMBER = "media.list.zst"


class MediaEntry(Strict):
    """One media file: ``path`` relative to the media folder, stored under ``media/<path>``.

    Attributes:
        carried: Whether the archive contains the file.
    """

    path: MemberName
    size_bytes: ByteCount
    sha256: Sha256
    modified_at: Instant
    carried: bool = True

    @property
    def member(self) -> str:
        """The member's name in the archive."""
        return f"media/{self.path}"

    @property
    def modified_us(self) -> int:
        """Mtime in microseconds since 1970."""
        return to_microseconds(self.modified_at)


class ListedFile(NamedTuple):
    """A line of a media list; a `MediaEntry` costs several times as much to create."""

    path: str
    size_bytes: int
    sha256: str
    modified_us: int
    carried: bool

    @classmethod
    def of(cls, entry: MediaEntry) -> Self:
        """Return the line of an entry."""
        return cls(entry.path, entry.size_bytes, entry.sha256, entry.modified_us, entry.carried)

    @property
    def entry(self) -> MediaEntry:
        """The same file as an entry of a manifest."""
        return MediaEntry(
            path=self.path,
            size_bytes=self.size_bytes,
            sha256=self.sha256,
            modified_at=self.modified_at,
            carried=self.carried,
        )

    @property
    def modified_at(self) -> datetime:
        """Mtime, aware UTC."""
        return from_microseconds(self.modified_us)

    @property
    def member(self) -> str:
        """The member's name in the archive."""
        return f"media/{self.path}"


ListedMedia = MediaEntry | ListedFile
"""A media file as an archive lists it: in its manifest, or in a member."""


class MediaList(Strict):
    """The member that lists the media files of an archive (`ar_sync_pipeline.archive.media_list`).

    Attributes:
        size_bytes: Size of the stored member in bytes.
        raw_bytes: Size of the decompressed list in bytes.
        sha256: SHA-256 of the stored member.
        file_count: Number of listed files.
        file_bytes: Size of the listed files in bytes.
        carried_count: Number of files that the archive contains.
        carried_bytes: Size of the files that the archive contains, in bytes.
        archive_bytes: Size of these files in the archive with headers and padding, in bytes.
    """

    size_bytes: ByteCount
    raw_bytes: ByteCount
    sha256: Sha256
    file_count: RowCount
    file_bytes: ByteCount
    carried_count: RowCount
    carried_bytes: ByteCount
    archive_bytes: ByteCount

    @model_validator(mode="after")
    def _possible_counts(self) -> Self:
        if self.carried_count > self.file_count:
            raise ValueError("a media list carries more files than it lists")
        return self

    @property
    def member(self) -> str:
        """The member's name in the archive."""
        return MEDIA_LIST_MEMBER

    @property
    def carried(self) -> bool:
        """Always true."""
        return True
