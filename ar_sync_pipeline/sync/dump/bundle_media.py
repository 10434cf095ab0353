"""The second step of a dump: which media files travel with the tables.

It runs after the snapshot was taken, so a picture that a row of the snapshot names is there
(the old system took the pictures first and missed those of the last seconds).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ar_sync_pipeline.archive.file_stamp import FileStamp, settled_stamp
from ar_sync_pipeline.archive.manifest import MediaEntry
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.media_references import media_references
from ar_sync_pipeline.export.source_tables import replicated_tables, shipped_table
from ar_sync_pipeline.media.errors import MediaChangedError, MediaGoneError
from ar_sync_pipeline.media.inventory import (
    MediaFile,
    RefusedName,
    hash_media,
    resolve_references,
    scan_media,
)
from ar_sync_pipeline.postgres.blocking_watch import end_when_blocking
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.dump_tables import TableDump
from ar_sync_pipeline.sync.stopwatch import Stopwatch

_TRIES = 3
_PAUSE_SECONDS = 1.0


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
    its pattern. A missing one is reported, not an error. One that is just being written is waited
    for, since production does not stop for a dump.

    Raises:
        MediaFolderError: the folder cannot be read.
        MediaChangedError: a file goes on changing; the step may be tried again.
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
    entries, stamps = _describe(files[path] for path in sorted(files))
    gone = files.keys() - {entry.path for entry in entries}
    watch.lap("media")
    bundle = MediaBundle(
        entries=entries,
        missing=tuple(sorted({*named.missing, *gone.intersection(names)})),
        refused=tuple((r.name, r.reason) for r in (*refused, *named.refused)),
        stamps=stamps,
        seconds=watch.seconds["media"],
    )
    build.save(bundle)
    return bundle


def renew_bundle(build: BuildFolder, folder: Path, member: str) -> bool:
    """Describe those files of a bundle anew that changed since; files that are gone leave it.

    Args:
        member: of the archive, whose file is known to have changed.

    Returns:
        False if that member is none of the bundle's.

    Raises:
        MediaChangedError: a file goes on changing.
    """
    bundle = build.read(MediaBundle)
    if member not in {entry.member for entry in bundle.entries}:
        return False
    changed = {
        entry.path
        for entry in bundle.entries
        if entry.member == member
        or entry.path not in bundle.stamps
        or bundle.stamps[entry.path] != settled_stamp(folder / entry.path)
    }
    found, stamps = _describe(
        MediaFile(entry.path, folder, entry.size_bytes, entry.modified_at)
        for entry in bundle.entries
        if entry.path in changed
    )
    kept = [entry for entry in bundle.entries if entry.path not in changed]
    old = {path: stamp for path, stamp in bundle.stamps.items() if path not in changed}
    entries = tuple(sorted([*kept, *found], key=lambda entry: entry.path))
    build.save(bundle.model_copy(update={"entries": entries, "stamps": old | stamps}))
    return True


def _describe(
    files: Iterable[MediaFile],
) -> tuple[tuple[MediaEntry, ...], dict[str, FileStamp]]:
    """Hash files, those that are gone left out; with the stamps of those that have settled."""
    entries, stamps = list[MediaEntry](), dict[str, FileStamp]()
    for file in files:
        # Before the hash, so that an equal stamp later vouches for it.
        stamp = settled_stamp(file.location)
        try:
            entries.append(_hash_when_settled(file))
        except MediaGoneError:
            continue
        if stamp is not None:
            stamps[file.path] = stamp
    return tuple(entries), stamps


def _hash_when_settled(file: MediaFile) -> MediaEntry:
    for _ in range(_TRIES - 1):
        try:
            return next(hash_media([file]))
        except MediaGoneError:
            raise
        except MediaChangedError:
            time.sleep(_PAUSE_SECONDS)
    return next(hash_media([file]))


def _all_references(url: str, catalog: Catalog) -> set[str]:
    names = set[str]()
    with (
        end_when_blocking(url, work="the list of media files") as watch,
        connect(url, application="media") as connection,
        watch.over(connection),
    ):
        for facts in replicated_tables(connection, catalog).values():
            # A transaction each, so that no lock is kept while another table is read.
            with connection.transaction():
                table, rules = shipped_table(catalog, facts), catalog.rules(facts.name)
                names.update(media_references(connection, table, rules))
    return names
