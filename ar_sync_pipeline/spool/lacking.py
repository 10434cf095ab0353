"""What a receiver lacks of a differential complete, or cannot verify: a list in its receipt.

The sender carries these chunks and files with its next complete. A long list is shortened to less
precise statements, each of which includes what it replaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from ar_sync_pipeline.archive.manifest import Chunk
from ar_sync_pipeline.archive.manifest_fields import BigInt, Instant, TableName
from ar_sync_pipeline.archive.manifest_media import ListedMedia
from ar_sync_pipeline.visible_text import counted

MOST_TABLES, MOST_CHUNKS, MOST_FILES = 200, 200, 200
MOST_UNVERIFIED_CHUNKS = 50
"""Number of chunks that the receipt of an applied complete names: about 3.3 million rows, so that
the next one stays small even if most of a large table is written meanwhile."""
_MOST_BYTES = 16 * 1024
_LONGEST_PATH = 1024
_SHOWN = 3


class LackingTable(BaseModel):
    """A table of which the receiver lacks chunks.

    Attributes:
        chunks: Lowest key of the range of each lacking chunk; empty: all of the table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: TableName
    chunks: Annotated[tuple[BigInt, ...], Field(max_length=MOST_CHUNKS)] = ()


class Lacking(BaseModel):
    """What a receiver lacks of a differential complete, or cannot verify.

    Attributes:
        media: Paths of lacking media files.
        media_since: Every media file that was modified at this time or later; None: only `media`.
        everything: Whether the list would be too long.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tables: Annotated[tuple[LackingTable, ...], Field(max_length=MOST_TABLES)] = ()
    media: Annotated[
        tuple[Annotated[str, Field(max_length=_LONGEST_PATH)], ...], Field(max_length=MOST_FILES)
    ] = ()
    media_since: Instant | None = None
    everything: bool = False

    @classmethod
    def of(cls, chunks: Mapping[str, Sequence[Chunk]], media: Sequence[ListedMedia]) -> Self:
        """Describe lacking chunks, by table, and lacking media files."""
        tables = tuple(
            LackingTable(name=table, chunks=_lows(lacking))
            for table, lacking in sorted(chunks.items())
            if lacking
        )
        if len(tables) > MOST_TABLES:
            return cls(everything=True)
        files = tuple(sorted(entry.path for entry in media))
        since = min((entry.modified_at for entry in media), default=None)
        attempts = [cls(tables=tables, media=files)] if len(files) <= MOST_FILES else []
        attempts.append(cls(tables=tables, media_since=since))
        attempts.append(
            cls(tables=tuple(LackingTable(name=t.name) for t in tables), media_since=since)
        )
        fitting = (a for a in attempts if len(a.model_dump_json().encode()) <= _MOST_BYTES)
        return next(fitting, cls(everything=True))

    def has_chunk(self, table: str, chunk: Chunk) -> bool:
        """Return whether a chunk may be lacking."""
        low = None if chunk.key_range is None else chunk.key_range.low
        return self.everything or any(
            lacking.name == table and (not lacking.chunks or low in lacking.chunks)
            for lacking in self.tables
        )

    def has_file(self, entry: ListedMedia) -> bool:
        """Return whether a media file may be lacking."""
        recent = self.media_since is not None and entry.modified_at >= self.media_since
        return self.everything or recent or entry.path in self.media

    @property
    def in_words(self) -> str:
        """What is lacking, as a part of a sentence."""
        parts = [
            f"{counted(len(table.chunks), 'chunk')} of {table.name}"
            if table.chunks
            else f"rows of {table.name}"
            for table in self.tables[:_SHOWN]
        ]
        if len(self.tables) > _SHOWN:
            parts.append(f"rows of {counted(len(self.tables) - _SHOWN, 'more table')}")
        if self.media:
            parts.append(f"{counted(len(self.media), 'media file')}, such as {self.media[0]}")
        elif self.media_since is not None:
            parts.append(f"media files, the oldest of {self.media_since:%Y-%m-%d %H:%M} UTC")
        return "; ".join(parts) if parts else "most of it"


def _lows(chunks: Sequence[Chunk]) -> tuple[int, ...]:
    ranges = [chunk.key_range for chunk in chunks if chunk.key_range is not None]
    if len(ranges) < len(chunks) or len(ranges) > MOST_CHUNKS:
        return ()
    return tuple(sorted(key_range.low for key_range in ranges))
