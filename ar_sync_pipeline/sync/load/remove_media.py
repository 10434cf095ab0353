"""Removal of media files at the receiver after a complete (``AR_SYNC_MEDIA_DELETE``).

Only files that an applied archive once listed are removed, and only if they still have the
described bytes and neither the newest complete nor a later archive lists them. On a file system
that takes two names for one, none is removed: a file that the sender renamed from ``Foto.JPG`` to
``foto.jpg`` is one file there. A subfolder may be on such a file system, too. The removal runs
after the commit; the next complete finishes an interrupted removal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.media.folded_names import folding_problem
from ar_sync_pipeline.media.remove import Removal, remove_media
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.media_files import (
    count_media,
    forget_media,
    media_listed_before,
)
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.sync.load.delete_guard import SWITCHED_OFF
from ar_sync_pipeline.visible_text import counted, quoted

_FILES_AT_ONCE = 1000
_FEW_FILES = 20


@dataclass(frozen=True)
class MediaRemoval:
    """Result for files that the sender no longer has.

    Attributes:
        removed: Number of removed files.
        warning: Message why others still exist; None if there is nothing to report.
    """

    removed: int = 0
    warning: str | None = None


@dataclass
class _Kept:
    """Files that are not removed for one reason: their number, and the first one."""

    count: int = 0
    first: str = ""

    def add(self, file: str) -> None:
        self.count += 1
        self.first = self.first or file


def remove_absent_media(
    connection: Connection,
    settings: ReceiverSettings,
    applied: Sequence[Manifest],
    *,
    unrecorded: str | None = None,
) -> MediaRemoval:
    """Remove what the newest complete among the archives just applied no longer lists.

    Args:
        applied: Archives in the order of their application.
        unrecorded: A file that they list and the database cannot record; None: there is none.
    """
    completes = [m for m in applied if m.kind is ArchiveKind.COMPLETE]
    if not settings.media_delete or not completes:
        return MediaRemoval()
    complete = max(completes, key=lambda manifest: manifest.snapshot_at)
    newest = complete.snapshot_at
    folding = folding_problem(settings.receiver_media_fldr)
    if folding is not None:
        return MediaRemoval(
            warning=f"{folding}, and no file is removed, since the sender may have it under another"
            " name: move the media folder to a file system that keeps the names apart, or set"
            " AR_SYNC_MEDIA_DELETE=false."
        )
    kept = _suspicion(connection, settings.delete_guard, complete)
    if kept is not None:
        return MediaRemoval(warning=kept)
    done = _remove(connection, settings, newest)
    if unrecorded is None:
        return done
    warnings = filter(None, (done.warning, _never_removed(unrecorded)))
    return replace(done, warning=" ".join(warnings))


def _suspicion(connection: Connection, percent: int, complete: Manifest) -> str | None:
    known = count_media(connection)
    absent = count_media(connection, listed_before=complete.snapshot_at)
    if not absent:
        return None
    gone = f"{absent:,} of {known:,} media files are no longer at the sender, and none was removed"
    look = "look whether its media folder is mounted and AR_SYNC_MEDIA_PATTERNS unchanged"
    if not complete.media_count:
        # The sender relies on it, whatever the guard: it sends none of them again.
        return (
            f"{gone}, since it lists no file at all: {look}; if they are really gone, remove them"
            " here by hand and set AR_SYNC_MEDIA_DELETE=false."
        )
    if not _is_suspicious(known, absent, percent):
        return None
    return (
        f"{gone}: {look}; if they are really gone, set AR_SYNC_DELETE_GUARD=100 for the load of the"
        " next complete, which may then delete any number of rows, too."
    )


def _never_removed(path: str) -> str:
    return (
        "Media files with a path that the receiver's database cannot record, as too long or not in"
        f" its encoding, are never removed, such as {quoted(path)}: rename them at the sender, or"
        " remove them at the receiver by hand once the sender has removed them."
    )


def _is_suspicious(known: int, absent: int, percent: int) -> bool:
    """Return whether so many files are absent that the sender's media folder may not be mounted.

    The folder below the mount may have files of its own. A small table may change as a whole, a
    small media folder does not, so the limit is 20 files and not 1,000 rows.
    """
    if percent >= SWITCHED_OFF:
        return False
    return absent == known or absent > max(_FEW_FILES, known * percent / 100)


def _remove(connection: Connection, settings: ReceiverSettings, newest: datetime) -> MediaRemoval:
    folder, removed = settings.receiver_media_fldr, 0
    refused, renamed = _Kept(), _Kept()
    after = ""
    while files := media_listed_before(connection, newest, after=after, limit=_FILES_AT_ONCE):
        forgotten = list[str]()
        for file in files:
            try:
                outcome = remove_media(
                    folder, file.path, size_bytes=file.size_bytes, sha256=file.sha256
                )
            except OSError as error:
                refused.add(f"{quoted(file.path)} ({error.strerror or error})")
                continue
            if outcome is Removal.RENAMED:  # kept records would add up to what the guard suspects
                renamed.add(quoted(file.path))
            removed += outcome is Removal.REMOVED
            forgotten.append(file.path)
        forget_media(connection, forgotten)
        after = files[-1].path
    return MediaRemoval(removed, _why_kept(folder, refused, renamed))


def _why_kept(folder: Path, refused: _Kept, renamed: _Kept) -> str | None:
    texts = list[str]()
    if refused.count:
        what = counted(refused.count, "media file")
        texts.append(
            f"{what} that the sender no longer has cannot be removed, such as {refused.first}: give"
            f" this account the right to change {folder}; the next complete tries again."
        )
    if renamed.count:
        what = counted(renamed.count, "media file is", "media files are")
        texts.append(
            f"{what} not removed, now or later, such as {renamed.first}: their file system ignores"
            " case or normalizes Unicode in names, and the sender may have them under another name;"
            " remove by hand those that it does not have, and move the folder to a file system that"
            " keeps the names apart."
        )
    return " ".join(texts) or None
