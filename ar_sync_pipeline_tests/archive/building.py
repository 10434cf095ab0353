"""Archives for tests: real ones, from the product's own writer, over files in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from ar_sync_pipeline.archive.chunk_member import ChunkWriter
from ar_sync_pipeline.archive.manifest import (
    MEDIA_LIST_FORMAT,
    Column,
    KeyRange,
    Manifest,
    SenderIdentity,
    TableManifest,
    Watermark,
)
from ar_sync_pipeline.archive.manifest_media import MEDIA_LIST_MEMBER, MediaEntry
from ar_sync_pipeline.archive.media_list import ListedFile, write_media_list
from ar_sync_pipeline.archive.media_members import CarriedFile
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.writer import ArchiveSource

SNAPSHOT_AT = datetime(2026, 11, 23, 15, 30, 0, 123456, tzinfo=UTC)


def make_source(
    folder: Path,
    *,
    media: Mapping[str, bytes] | None = None,
    tables: Mapping[str, Sequence[bytes]] | None = None,
    key: bytes | None = None,
    listed: bool = False,
    **fields: Any,
) -> ArchiveSource:
    """An archive of these pictures and these tables' chunks, whose files lie in ``folder``.

    Args:
        listed: Whether a member lists the pictures.
    """
    folder.mkdir(exist_ok=True)
    members: dict[str, Path] = {}
    table_manifests = []
    for table, chunks in (tables or {}).items():
        written = []
        for index, raw in enumerate(chunks):
            with ChunkWriter(folder, table, index) as writer:
                writer.write(raw)
                keys = KeyRange(low=index, high=index + 1) if len(chunks) > 1 else None
                written.append(writer.finish(row_count=1, digest="0", key_range=keys))
            members[writer.member] = writer.path
        table_manifests.append(make_table(table, chunks=tuple(written), row_count=len(written)))
    entries = []
    locations: dict[str, Path] = {}
    for index, (path, content) in enumerate((media or {}).items()):
        file = folder / f"picture{index}"
        file.write_bytes(content)
        entry = make_entry(path, content)
        entries.append(entry)
        locations[entry.member] = file
    files = None
    if listed:
        files = ListedFiles(entries, locations)
        members[MEDIA_LIST_MEMBER] = folder / MEDIA_LIST_MEMBER
        media_list = write_media_list(members[MEDIA_LIST_MEMBER], map(ListedFile.of, files.entries))
        fields = {"format": MEDIA_LIST_FORMAT, "media_list": media_list, **fields}
    else:
        fields["media"] = tuple(entries)
        members |= locations
    manifest = make_manifest(tables=tuple(table_manifests), **fields)
    signed = manifest if key is None else manifest.signed(key)
    return ArchiveSource(signed, members, media=files)


class ListedFiles:
    """The files of a media list, in memory."""

    def __init__(self, entries: Sequence[MediaEntry], locations: Mapping[str, Path]) -> None:
        self.entries = sorted(entries, key=lambda entry: entry.path)
        self._locations = locations

    def carried_after(self, path: str) -> Iterator[CarriedFile]:
        for entry in self.entries:
            if entry.path > path and entry.carried:
                file = self._locations[entry.member]
                yield CarriedFile(
                    entry.path, entry.size_bytes, entry.sha256, file.parent, file.name, None
                )


def make_entry(path: str, content: bytes) -> MediaEntry:
    return MediaEntry(
        path=path,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        modified_at=SNAPSHOT_AT,
    )


def make_table(name: str, **fields: Any) -> TableManifest:
    defaults: dict[str, Any] = {
        "columns": (Column(name="id", type="integer", nullable=False),),
        "primary_key": ("id",),
        "row_count": 0,
        "chunks": (),
    }
    return TableManifest(name=name, **(defaults | fields))


def make_manifest(**fields: Any) -> Manifest:
    defaults: dict[str, Any] = {
        "archive_id": UUID("00000000-0000-4000-8000-000000000001"),
        "kind": ArchiveKind.COMPLETE,
        "sender": SenderIdentity(system_identifier="7", database="transapp", name="sender"),
        "product_version": "0.1.0",
        "snapshot_at": SNAPSHOT_AT,
        "digest_probe": "1",
        "tables": (),
        "schema_fingerprint": "f",
    }
    said = defaults | fields
    said.setdefault(
        "watermark",
        Watermark(
            archive_id=said["archive_id"],
            snapshot_at=said["snapshot_at"],
            snapshot="10:20:",
            system_identifier="7",
            timeline=1,
        ),
    )
    return Manifest(**said)


def write_archive(folder: Path, source: ArchiveSource) -> Path:
    """The archive as a file under its waiting name."""
    path = folder / source.manifest.name.waiting
    source.write_to(path)
    return path
