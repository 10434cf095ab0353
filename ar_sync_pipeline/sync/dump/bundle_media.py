"""The second step of a dump: the media files of the archive.

It runs after the snapshot was taken, so a media file that a row of the snapshot names exists (the
old system read the media files first and missed those of the last seconds).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.export.media_references import media_references, still_named
from ar_sync_pipeline.export.selection import reads_watermark
from ar_sync_pipeline.export.source_tables import exported_table, replicated_tables
from ar_sync_pipeline.media.held import is_checked_by_content
from ar_sync_pipeline.media.inventory import IS_A_FOLDER, is_empty
from ar_sync_pipeline.media.media_file import OmittedMedia
from ar_sync_pipeline.media.safe_paths import is_safe_path
from ar_sync_pipeline.postgres.blocking_watch import end_when_blocking
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.bundle_files import BundleFiles, new_bundle_files
from ar_sync_pipeline.sync.dump.bundled_file import Status
from ar_sync_pipeline.sync.dump.describe_media import describe_all
from ar_sync_pipeline.sync.dump.dump_tables import SenderDatabase
from ar_sync_pipeline.sync.dump.held_media import HeldMedia
from ar_sync_pipeline.sync.dump.media_journal import (
    MEDIA_JOURNAL,
    MOST_UNRESOLVED,
    MediaJournal,
    open_journal,
)
from ar_sync_pipeline.sync.dump.select_media import MediaSelection
from ar_sync_pipeline.sync.dump.table_dump import TableDump
from ar_sync_pipeline.sync.stopwatch import Stopwatch
from ar_sync_pipeline.visible_text import visible

_MOST_MISSING = 1_000
_WAS_MISSING = "its file was missing"
_NOT_MOUNTED = "the media folder is empty, and its disk may not be mounted"
_WAS_LEFT_OUT = "a complete without it was sent"


class MediaBundle(BaseModel):
    """Summary of the media files of an archive; the files are in `BundleFiles`.

    Attributes:
        file_count: Number of files that the archive lists.
        size_bytes: Size of the carried files in bytes.
        missing: The first names in rows without a file at the sender.
        missing_count: Number of all of them.
        refused: The first names that cannot be those of a media file, with the reason.
        refused_count: Number of all of them.
        omitted: Paths in the media folder that are not sent now, with the reason: links, folders
            and special files that match a pattern, and files that cannot be read or are changing;
            such files are sent with a later archive. A path that no archive can name is made
            printable.
        late: Those of them that an earlier archive could not send, either, with the reason.
        held: Number of files that are not sent because the receiver already has them; a complete
            lists them all the same.
        renewed: Paths of files that changed after the bundle was made, and were described again.
        seconds: Seconds for listing and hashing.
    """

    model_config = ConfigDict(frozen=True)

    file_count: int
    size_bytes: int
    missing: tuple[str, ...]
    missing_count: int
    refused: tuple[tuple[str, str], ...]
    refused_count: int
    omitted: tuple[tuple[str, str], ...] = ()
    late: tuple[tuple[str, str], ...] = ()
    held: int = 0
    renewed: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def omitted_names(self) -> tuple[str, ...]:
        """Sorted paths of omitted files, as far as a manifest can name them."""
        paths = {path for path, reason in self.omitted if reason != IS_A_FOLDER}
        return tuple(sorted(filter(is_safe_path, paths)))


def bundle_media(
    build: BuildFolder, database: SenderDatabase, folder: Path, patterns: Sequence[str]
) -> MediaBundle:
    """List and hash the media files of the archive in a build folder.

    If the catalog excludes a media column, only files that another column names are included.

    A complete lists every file that matches a pattern or that a row names, and carries those that
    the receiver is not known to have. A file that is unchanged since an earlier archive is not
    hashed again, except for a share of all files that differs each day. A partial contains
    the files that its rows name, those whose mtime is in the interval that it covers, and those
    that could not be sent earlier. Files that the receiver is known to have are left out of a
    partial.

    No file prevents the others: a file that cannot be read, or is being written all the time, is
    reported and sent with a later archive. A missing file is reported, by every partial as long as
    it is missing and a row names it; the first partial that finds it contains it.

    Raises:
        MediaFolderError: The folder itself cannot be read.
        MediaJournalError: The journal in the scratch folder cannot be used.
        MediaJournalBusyError: Another process holds it.
        MediaJournalDamagedError: It was damaged; another attempt does without it.
    """
    watch = Stopwatch()
    dump = build.read(TableDump)
    with new_bundle_files(build) as files:
        chosen = MediaSelection(folder, patterns, files, named_only=database.catalog.excludes_media)
        if dump.window is None:
            owed = _choose_complete(build, database, dump, chosen)
        else:
            owed = _choose_partial(build, database, dump, dump.window, chosen)
        bundle = _summary(chosen, owed)
    watch.lap("media")
    bundle = bundle.model_copy(update={"seconds": watch.seconds["media"]})
    build.save(bundle)
    if dump.kind is ArchiveKind.COMPLETE:  # A partial is one step, which is repeated as a whole.
        build.sync()
    return bundle


def _choose_complete(
    build: BuildFolder, database: SenderDatabase, dump: TableDump, chosen: MediaSelection
) -> Collection[str]:
    """Choose all files, and mark those that need not be carried; return what was owed before."""
    scratch, files = build.path.parent, chosen.files
    if not database.catalog.excludes_media:
        chosen.scan(None)
    with open_journal(scratch) as journal:
        owed, unresolved = journal.owed(), journal.unresolved()
        if journal.has_files() and is_empty(chosen.folder):
            chosen.omit(OmittedMedia("./", _NOT_MOUNTED))
    chosen.add_referenced(_all_references(database))
    snapshot_at = dump.watermark.snapshot_at
    with open_journal(scratch):
        files.describe_known(
            scratch / MEDIA_JOURNAL, lambda path: is_checked_by_content(path, snapshot_at)
        )
    describe_all(chosen)
    if dump.base is not None:
        with open_journal(scratch) as journal:
            held = journal.held(dump.held_at, dump.base.snapshot_at)
            files.mark_held(scratch / MEDIA_JOURNAL, held.archives)
        if dump.lacking != Lacking():
            lacking = (f.path for f in files.listed() if dump.lacking.has_file(f.entry))
            files.mark(lacking, Status.CARRIED)
    chosen.omit_larger(dump.receiver_free_bytes)
    with open_journal(scratch) as journal:
        journal.owe(chosen.omitted.values())
        _keep_unresolved(journal, unresolved, files)
    return owed


def _choose_partial(
    build: BuildFolder,
    database: SenderDatabase,
    dump: TableDump,
    window: Window,
    chosen: MediaSelection,
) -> Collection[str]:
    """Choose the files of a partial that the receiver lacks; return what was owed before.

    The journal is never open while files are read, so that a complete need not wait for it.
    """
    scratch, files = build.path.parent, chosen.files
    with open_journal(scratch) as journal:
        owed, unresolved = journal.owed(), journal.unresolved()
    chosen.scan(_covered(dump, window))
    again = _still_named(database, unresolved - {*dump.media_references})
    chosen.add_referenced({*dump.media_references, *again})
    chosen.add_owed(owed)
    if database.catalog.excludes_media and (owed or chosen.omitted or any(files.all())):
        chosen.keep_named(chain(_all_references(database), dump.media_references), owed)
    with open_journal(scratch) as journal:
        held = journal.held(dump.since)
        files.mark((f.path for f in files.all() if held.has_stamp(f.path, f.stamp)), Status.HELD)
    chosen.omit_larger(dump.receiver_free_bytes)  # before each partial reads them for minutes
    describe_all(chosen)
    with open_journal(scratch) as journal:
        now_held = journal.held(dump.since)
        # A complete that does not list them may have been recorded meanwhile.
        no_more = [f.path for f in files.held() if not now_held.has_stamp(f.path, f.stamp)]
        files.mark(_known_by_content(now_held, files), Status.HELD)
        journal.leave_out(dump.watermark.snapshot_at, (file.path for file in files.held()))
        journal.owe(chosen.omitted.values())
        if not is_empty(chosen.folder):  # else its disk may not be mounted
            fulfilled = {path for path in owed if _is_fulfilled(path, chosen)}
            journal.settle(fulfilled | chosen.gone)
        journal.owe(OmittedMedia(path, _WAS_LEFT_OUT, temporary=True) for path in no_more)
        _keep_unresolved(journal, unresolved, files)
    return owed


def _keep_unresolved(journal: MediaJournal, before: Collection[str], files: BundleFiles) -> None:
    """Record which names have no file, and owe those that had none before and now have one.

    If this archive is lost, a later partial may not contain the row that names the file.
    """
    journal.owe(
        OmittedMedia(path, _WAS_MISSING, temporary=True) for path in before if files.has(path)
    )
    journal.keep_unresolved(before, files.lost(MOST_UNRESOLVED, missing_only=False))


def _is_fulfilled(owed: str, chosen: MediaSelection) -> bool:
    """Return whether the receiver has all that was found of an owed file or folder."""
    files = chosen.files
    if owed in chosen.omitted:
        return False
    if owed.endswith("/"):
        return not files.has_below(owed)
    return files.get(owed) is not None and not files.has(owed)


def _known_by_content(held: HeldMedia, files: BundleFiles) -> Iterator[str]:
    """Yield files that the receiver has although the stamps differ; store their new stamps."""
    for file in files.listed():
        if held.has_content(file.entry):
            if file.stamp is not None:
                held.remember_stamp(file.path, file.stamp)
            yield file.path


def _covered(dump: TableDump, window: Window) -> tuple[datetime, datetime]:
    """Return the interval of modification times whose files a partial contains.

    It looks back as far as for rows: a file may become visible after the time that it has (a move,
    a cache of NFS, a file server with another clock), and the archive that carried it then may be
    lost. What the receiver has is left out.
    """
    since = dump.since.snapshot_at - dump.look_back if dump.since else None
    starts = (window.start, dump.changed_since, since)
    # A media file of the snapshot's last instant may get its mtime shortly afterwards.
    end = dump.watermark.snapshot_at + timedelta(minutes=1)
    return min(start for start in starts if start is not None), end


def _summary(chosen: MediaSelection, owed: Collection[str]) -> MediaBundle:
    files = chosen.files
    late = (chosen.omitted[path] for path in owed if path in chosen.omitted)
    count, held, size_bytes = files.totals()
    return MediaBundle(
        file_count=count,
        size_bytes=size_bytes,
        missing=tuple(files.lost(_MOST_MISSING, missing_only=True)),
        missing_count=files.count_missing(),
        refused=tuple((r.name, r.reason) for r in chosen.refused),
        refused_count=chosen.refused_count,
        omitted=omitted_texts((), chosen.omitted.values()),
        late=omitted_texts((), late),
        held=held,
    )


def omitted_texts(
    before: Iterable[tuple[str, str]], omitted: Iterable[OmittedMedia]
) -> tuple[tuple[str, str], ...]:
    """Return omitted paths in order, with one reason each; a path may not fit JSON as it is."""
    pairs = [*before, *((item.path, item.reason) for item in omitted)]
    texts = {path if is_safe_path(path) else visible(path): reason for path, reason in pairs}
    return tuple(sorted(texts.items()))


def _all_references(database: SenderDatabase) -> Iterator[str]:
    catalog = database.catalog
    with _media_tables(database) as (connection, tables):
        for facts in tables:
            # One transaction per table, so that no lock is held while another table is read.
            with connection.transaction():
                table, rules = exported_table(catalog, facts), catalog.rules(facts.name)
                yield from media_references(connection, table, rules)


def _still_named(database: SenderDatabase, names: Collection[str]) -> set[str]:
    """Return those of the names that a row has, all of them if a table is too large to be read."""
    if not names:
        return set()
    found = set[str]()
    catalog = database.catalog
    with _media_tables(database) as (connection, tables):
        if not all(reads_watermark(catalog, facts) for facts in tables):
            return set(names)
        for facts in tables:
            with connection.transaction():
                table, rules = exported_table(catalog, facts), catalog.rules(facts.name)
                found.update(still_named(connection, table, rules, names))
    return found


@contextmanager
def _media_tables(database: SenderDatabase) -> Iterator[tuple[Connection, list[TableFacts]]]:
    catalog, limit_seconds = database.catalog, database.max_blocking_seconds
    with (
        end_when_blocking(database.url, limit_seconds, work="the list of media files") as watch,
        connect(database.url, application="media") as connection,
        watch.over(connection),
    ):
        tables = replicated_tables(connection, catalog).values()
        named = [facts for facts in tables if catalog.rules(facts.name).sent_media_columns]
        with default_search_path(connection):
            yield connection, named
