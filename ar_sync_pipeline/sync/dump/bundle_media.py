"""The second step of a dump: the media files of the archive.

It runs after the snapshot was taken, so a media file that a row of the snapshot names exists (the
old system read the media files first and missed those of the last seconds).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ar_sync_pipeline.archive.file_stamp import FileStamp, steady_stamp
from ar_sync_pipeline.archive.manifest import MediaEntry
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.media_references import media_references, still_named
from ar_sync_pipeline.export.selection import reads_watermark
from ar_sync_pipeline.export.source_tables import exported_table, replicated_tables
from ar_sync_pipeline.media.errors import (
    MediaChangedError,
    MediaGoneError,
    MediaUnreadableError,
)
from ar_sync_pipeline.media.inventory import IS_A_FOLDER, MediaFile, OmittedMedia, hash_media
from ar_sync_pipeline.media.safe_paths import media_name_problem
from ar_sync_pipeline.postgres.blocking_watch import end_when_blocking
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.dump_tables import TableDump
from ar_sync_pipeline.sync.dump.media_journal import HeldMedia, open_journal
from ar_sync_pipeline.sync.dump.select_media import WENT_AWAY, MediaSelection, without_ancestors
from ar_sync_pipeline.sync.stopwatch import Stopwatch

_TRIES = 3
_PAUSE_SECONDS = 1.0
_WAS_MISSING = "its file was missing"
_WRITTEN = "it was being written"
_REPLACED = "it is replaced again and again"


class MediaBundle(BaseModel):
    """The media files of an archive.

    Attributes:
        entries: Files with size and sha256.
        missing: Names in rows without a file at the sender.
        refused: Names that cannot be those of a media file, with the reason.
        omitted: Paths in the media folder that are not sent now, with the reason: links, folders
            and special files that match a pattern, and files that cannot be read or are changing;
            such files are sent with a later archive.
        held: Number of files that are not sent because the receiver already has them; a complete
            lists them all the same.
        stamps: Stamps of files that need not be hashed again during the upload, by path.
        renewed: Paths of files that changed after the bundle was made, and were described again.
        seconds: Seconds for listing and hashing.
    """

    model_config = ConfigDict(frozen=True)

    entries: tuple[MediaEntry, ...]
    missing: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    omitted: tuple[tuple[str, str], ...] = ()
    held: int = 0
    stamps: dict[str, FileStamp] = {}
    renewed: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def size_bytes(self) -> int:
        """Size of the carried files in bytes."""
        return sum(entry.size_bytes for entry in self.entries if entry.carried)

    @property
    def omitted_names(self) -> tuple[str, ...]:
        """Sorted paths of omitted files, as far as a manifest can name them."""
        paths = {path for path, reason in self.omitted if reason != IS_A_FOLDER}
        return tuple(sorted(p for p in paths if media_name_problem(p.removesuffix("/")) is None))


def bundle_media(
    build: BuildFolder, catalog: Catalog, url: str, folder: Path, patterns: Sequence[str]
) -> MediaBundle:
    """List and hash the media files of the archive in a build folder.

    If the catalog excludes a media column, only files that another column names are included.

    A complete lists every file that matches a pattern or that a row names, and carries those that
    the receiver is not known to have. A partial contains
    the files that its rows name, those whose mtime is in the interval that it covers, and those
    that could not be sent earlier. Files that the receiver is known to have are left out of a
    partial.

    No file prevents the others: a file that cannot be read, or is being written all the time, is
    reported and sent with a later archive. A missing file is reported, by every partial as long as
    it is missing and a row names it; the first partial that finds it contains it.

    Raises:
        MediaFolderError: The folder itself cannot be read.
        MediaJournalError: The journal in the scratch folder cannot be used.
    """
    watch = Stopwatch()
    dump = build.read(TableDump)
    chosen = MediaSelection(folder, patterns)
    if dump.window is None:
        if not catalog.excludes_media:
            chosen.scan(None)
        with open_journal(build.path.parent) as journal:
            unresolved = journal.unresolved()
        chosen.add_referenced(_all_references(url, catalog))
        bundle = _marked(build, dump, _describe_all(chosen))
        _owe(build, chosen.omitted.values())
        with open_journal(build.path.parent) as journal:
            journal.keep_unresolved(unresolved, chosen.unresolved)
    else:
        bundle = _bundle_partial(build, catalog, url, dump, chosen)
    watch.lap("media")
    bundle = bundle.model_copy(update={"seconds": watch.seconds["media"]})
    build.save(bundle)
    return bundle


def renew_bundle(build: BuildFolder, folder: Path, member: str) -> bool:
    """Describe the changed files of a bundle again; remove those that no longer exist.

    A file that changes a second time is removed from the bundle as well, and reported: a file that
    is replaced four times a second would otherwise prevent the upload for ever.

    Args:
        member: Member of the archive whose file is known to have changed.

    Returns:
        False if the bundle has no such member.
    """
    bundle = build.read(MediaBundle)
    before = {entry.path: entry for entry in bundle.entries}
    culprit = next((path for path, entry in before.items() if entry.member == member), None)
    if culprit is None:
        return False
    suspects = {
        path
        for path in before
        if path == culprit
        or path not in bundle.stamps
        or bundle.stamps[path] != steady_stamp(folder / path)
    }
    described = _Description()
    described.add(
        MediaFile(path, folder, before[path].size_bytes, before[path].modified_at)
        for path in sorted(suspects)
    )
    described.entries = [_as_before(entry, before[entry.path]) for entry in described.entries]
    changed = {e.path for e in described.entries if e.path == culprit or e != before[e.path]}
    for path in changed & set(bundle.renewed):
        described.omit(OmittedMedia(path, _REPLACED, temporary=True))
    _owe(build, described.omitted)
    build.save(_renewed(bundle, suspects, described, changed))
    return True


def _as_before(entry: MediaEntry, before: MediaEntry) -> MediaEntry:
    """Return an entry that is still not carried if its content is the same."""
    unchanged = (entry.size_bytes, entry.sha256) == (before.size_bytes, before.sha256)
    return entry.model_copy(update={"carried": before.carried}) if unchanged else entry


def _renewed(
    bundle: MediaBundle, suspects: set[str], described: _Description, changed: set[str]
) -> MediaBundle:
    """Return a bundle with the current state of some files, without those that no longer exist."""
    kept = [entry for entry in bundle.entries if entry.path not in suspects]
    stamps = {path: stamp for path, stamp in bundle.stamps.items() if path not in suspects}
    return bundle.model_copy(
        update={
            "entries": tuple(sorted([*kept, *described.entries], key=lambda entry: entry.path)),
            "stamps": stamps | described.stamps,
            "renewed": tuple(sorted({*bundle.renewed, *changed})),
            "omitted": _texts([*bundle.omitted, *_pairs(described.omitted)]),
        }
    )


def _bundle_partial(
    build: BuildFolder, catalog: Catalog, url: str, dump: TableDump, chosen: MediaSelection
) -> MediaBundle:
    """Return the files of a partial that the receiver lacks.

    The journal is never open while files are read, so that a complete need not wait for it.
    """
    scratch = build.path.parent
    with open_journal(scratch) as journal:
        owed, unresolved = journal.owed(), journal.unresolved()
    chosen.scan(_covered(dump))
    again = _still_named(url, catalog, unresolved - {*dump.media_references})
    chosen.add_referenced({*dump.media_references, *again})
    promised = chosen.add_owed(owed)
    if catalog.excludes_media and (chosen.files or chosen.omitted or owed):
        chosen.keep_named({*_all_references(url, catalog), *dump.media_references}, owed)
    with open_journal(scratch) as journal:
        held = journal.held(dump.since)
        files = chosen.files.items()
        have = {p for p, file in files if held.has_stamp(p, steady_stamp(file.location))}
    for path in have:
        del chosen.files[path]
    bundle = _describe_all(chosen)
    with open_journal(scratch) as journal:
        have |= _known_by_content(journal.held(dump.since), bundle)
        journal.owe(chosen.omitted.values())
        fulfilled = {
            p for p, wanted in promised.items() if wanted <= have and p not in chosen.omitted
        }
        journal.settle(fulfilled | chosen.gone)
        # Its row may not be in a later partial, if this one is lost.
        journal.owe(
            OmittedMedia(path, _WAS_MISSING, temporary=True)
            for path in (unresolved & chosen.files.keys()) - have
        )
        journal.keep_unresolved(unresolved, chosen.unresolved)
    return bundle.model_copy(
        update={
            "entries": tuple(entry for entry in bundle.entries if entry.path not in have),
            "stamps": {p: stamp for p, stamp in bundle.stamps.items() if p not in have},
            "held": len(have),
        }
    )


def _marked(build: BuildFolder, dump: TableDump, bundle: MediaBundle) -> MediaBundle:
    """Mark the files of a complete that need not be carried."""
    if dump.base is None:
        return bundle
    with open_journal(build.path.parent) as journal:
        held = journal.held(dump.held_at, dump.base.snapshot_at)
        entries = tuple(
            entry.model_copy(update={"carried": False})
            if held.has_content(entry) and not dump.lacking.has_file(entry)
            else entry
            for entry in bundle.entries
        )
    left = sum(not entry.carried for entry in entries)
    return bundle.model_copy(update={"entries": entries, "held": left})


def _known_by_content(held: HeldMedia, bundle: MediaBundle) -> set[str]:
    """Return files that the receiver has although the stamps differ; store their new stamps."""
    known = {entry.path for entry in bundle.entries if held.has_content(entry)}
    for path in known & bundle.stamps.keys():
        held.remember_stamp(path, bundle.stamps[path])
    return known


def _covered(dump: TableDump) -> tuple[datetime, datetime]:
    """Return the interval of modification times whose files a partial contains."""
    assert dump.window is not None  # noqa: S101  of a partial
    start = min(dump.window.start, dump.since.snapshot_at if dump.since else dump.window.start)
    # A media file of the snapshot's last instant may get its mtime shortly afterwards.
    return start, dump.watermark.snapshot_at + timedelta(minutes=1)


def _describe_all(chosen: MediaSelection) -> MediaBundle:
    paths, folders = without_ancestors(chosen.files)
    for path in folders:
        chosen.omit(OmittedMedia(path, "it became a folder while it was read", temporary=True))
    described = _Description()
    described.add(chosen.files[path] for path in sorted(paths))
    for item in described.omitted:
        chosen.omit(item)
    return MediaBundle(
        entries=tuple(described.entries),
        missing=tuple(sorted(chosen.missing)),
        refused=tuple((r.name, r.reason) for r in chosen.refused),
        omitted=_texts(_pairs(chosen.omitted.values())),
        stamps=described.stamps,
    )


class _Description:
    """Files that were hashed, with their stamps, and those that could not be hashed."""

    def __init__(self) -> None:
        self.entries: list[MediaEntry] = []
        self.stamps: dict[str, FileStamp] = {}
        self.omitted: list[OmittedMedia] = []

    def add(self, files: Iterable[MediaFile]) -> None:
        """Hash files; those that are being written are retried after the others."""
        again = self._hash(files)
        for _ in range(_TRIES - 1):
            if not again:
                break
            time.sleep(_PAUSE_SECONDS)
            again = self._hash(again)
        for file in again:
            self.omitted.append(OmittedMedia(file.path, _WRITTEN, temporary=True))
        self.entries.sort(key=lambda entry: entry.path)

    def omit(self, item: OmittedMedia) -> None:
        """Remove a file and record why it is omitted."""
        self.entries = [entry for entry in self.entries if entry.path != item.path]
        self.stamps.pop(item.path, None)
        self.omitted.append(item)

    def _hash(self, files: Iterable[MediaFile]) -> list[MediaFile]:
        again = list[MediaFile]()
        for file in files:
            # Before the hash, so that an equal stamp later proves that the file is unchanged.
            stamp = steady_stamp(file.location)
            try:
                self.entries.append(next(hash_media([file])))
            except MediaGoneError:
                self.omitted.append(OmittedMedia(file.path, WENT_AWAY))
                continue
            except MediaUnreadableError as error:
                reason = _cause(error)
                self.omitted.append(OmittedMedia(file.path, reason, temporary=True))
                continue
            except MediaChangedError:
                again.append(file)
                continue
            if stamp is not None:
                self.stamps[file.path] = stamp
        return again


def _cause(error: MediaUnreadableError) -> str:
    cause = error.__cause__
    text = cause.strerror if isinstance(cause, OSError) else None
    return f"it cannot be read ({text or 'no reason is known'})"


def _owe(build: BuildFolder, omitted: Iterable[OmittedMedia]) -> None:
    wanted = [item for item in omitted if item.temporary]
    if wanted:
        with open_journal(build.path.parent) as journal:
            journal.owe(wanted)


def _pairs(omitted: Iterable[OmittedMedia]) -> list[tuple[str, str]]:
    return [(item.path, item.reason) for item in omitted]


def _texts(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the pairs by path, with one reason each; paths that do not fit JSON are escaped."""
    return tuple(sorted({_printable(path): reason for path, reason in pairs}.items()))


def _printable(path: str) -> str:
    return path if path.isprintable() else path.encode("unicode_escape").decode("ascii")


def _all_references(url: str, catalog: Catalog) -> set[str]:
    names = set[str]()
    with _media_tables(url, catalog) as (connection, tables):
        for facts in tables:
            # One transaction per table, so that no lock is held while another table is read.
            with connection.transaction():
                table, rules = exported_table(catalog, facts), catalog.rules(facts.name)
                names.update(media_references(connection, table, rules))
    return names


def _still_named(url: str, catalog: Catalog, names: Collection[str]) -> set[str]:
    """Return those of the names that a row has, all of them if a table is too large to be read."""
    if not names:
        return set()
    found = set[str]()
    with _media_tables(url, catalog) as (connection, tables):
        if not all(reads_watermark(catalog, facts) for facts in tables):
            return set(names)
        for facts in tables:
            with connection.transaction():
                table, rules = exported_table(catalog, facts), catalog.rules(facts.name)
                found.update(still_named(connection, table, rules, names))
    return found


@contextmanager
def _media_tables(url: str, catalog: Catalog) -> Iterator[tuple[Connection, list[TableFacts]]]:
    with (
        end_when_blocking(url, work="the list of media files") as watch,
        connect(url, application="media") as connection,
        watch.over(connection),
    ):
        tables = replicated_tables(connection, catalog).values()
        yield (
            connection,
            [facts for facts in tables if catalog.rules(facts.name).sent_media_columns],
        )
