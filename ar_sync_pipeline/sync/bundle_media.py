"""The second step of a dump: which media files travel with the tables.

It runs after the snapshot was taken, so a picture that a row of the snapshot names is there
(the old system took the pictures first and missed those of the last seconds).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ar_sync_pipeline.archive.file_stamp import FileStamp, settled_stamp
from ar_sync_pipeline.archive.manifest import MediaEntry
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.media.inventory import (
    MediaFile,
    RefusedName,
    hash_media,
    resolve_references,
    scan_media,
)
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.media_references import media_references
from ar_sync_pipeline.sync.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump_tables import TableDump, shipped_table, travelling_tables
from ar_sync_pipeline.sync.stopwatch import Stopwatch


class MediaBundle(BaseModel):
    """The media files of an archive.

    Attributes:
        entries: the files, each with size and sha256.
        missing: names in rows without a file at the sender.
        refused: names that cannot be those of a media file, with the reason.
        stamps: by path, of files that need not be hashed once more while they are sent.
        seconds: that listing and hashing took.
    """

    model_config = ConfigDict(frozen=True)

    entries: tuple[MediaEntry, ...]
    missing: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    stamps: dict[str, FileStamp] = {}
    seconds: float = 0.0

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(entry.size_bytes for entry in self.entries)


def bundle_media(
    build: BuildFolder, catalog: Catalog, url: str, folder: Path, patterns: Sequence[str]
) -> MediaBundle:
    """List and hash the media files of the archive that a build folder holds.

    A complete takes every file that matches a pattern; a partial those that its rows name, and
    those whose mtime lies in the time that it covers. A file that a row names travels whatever
    its pattern. A missing one is reported, not an error.

    Raises:
        MediaFolderError: the folder cannot be read.
        MediaChangedError: a file changed while it was hashed; the step may be tried again.
    """
    watch = Stopwatch()
    dump = build.read(TableDump)
    refused: list[RefusedName] = []
    if dump.window is None:
        names: Iterable[str] = _all_references(url, catalog)
        scanned = scan_media(folder, patterns, on_refused=refused.append)
    else:
        names = dump.media_references
        start = min(dump.window.start, dump.since.snapshot_at if dump.since else dump.window.start)
        # A picture of the snapshot's last instant may get its mtime a moment later.
        until = dump.watermark.snapshot_at + timedelta(minutes=1)
        scanned = scan_media(
            folder, patterns, modified_within=(start, until), on_refused=refused.append
        )
    files: dict[str, MediaFile] = {file.path: file for file in scanned}
    named = resolve_references(folder, names)
    files.update({file.path: file for file in named.found})
    # Before the hashes, so that an equal stamp later vouches for them.
    stamps = {path: settled_stamp(folder / path) for path in sorted(files)}
    entries = tuple(hash_media(files[path] for path in stamps))
    watch.lap("media")
    bundle = MediaBundle(
        entries=entries,
        missing=named.missing,
        refused=tuple((r.name, r.reason) for r in (*refused, *named.refused)),
        stamps={path: stamp for path, stamp in stamps.items() if stamp is not None},
        seconds=watch.seconds["media"],
    )
    build.save(bundle)
    return bundle


def _all_references(url: str, catalog: Catalog) -> set[str]:
    with connect(url, application="media") as connection:
        tables = travelling_tables(connection, catalog)
        with connection.transaction():
            return {
                name
                for facts in tables.values()
                for name in media_references(
                    connection, shipped_table(catalog, facts), catalog.rules(facts.name)
                )
            }
