"""The sender's journal of media files: sent versions, owed files, and names without a file.

A partial need not contain a file that the receiver is known to have, however often a row names it.
It must contain a file that could not be read earlier. A name in a row that has no file is a finding
of every partial, not only of the one that contains the row. Like the journal of sent archives, this
one in the scratch folder is only a hint: without it a partial contains all files that it refers to.
It is SQLite, since a complete may have hundreds of thousands of files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from ar_sync_pipeline.archive.file_stamp import FileStamp
from ar_sync_pipeline.archive.manifest import BaseArchive, Manifest, Watermark
from ar_sync_pipeline.archive.member_names import folders_of, range_below
from ar_sync_pipeline.archive.microseconds import to_microseconds
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.disk_errors import is_busy, is_damaged, temporary_folder
from ar_sync_pipeline.media.media_file import OmittedMedia
from ar_sync_pipeline.media.safe_paths import is_safe_path
from ar_sync_pipeline.sync.dump.held_media import HeldMedia
from ar_sync_pipeline.sync.dump.sender_journal import KEPT_COMPLETES
from ar_sync_pipeline.sync.errors import (
    MediaJournalBusyError,
    MediaJournalDamagedError,
    MediaJournalError,
)

MEDIA_JOURNAL = "ar_sync_media.sqlite"
_WAIT_SECONDS = 60
_VERSION, _WITHOUT_LEFT_OUT, _WITHOUT_UNRESOLVED = 3, 2, 1
MOST_UNRESOLVED = 1_000
_EMPTY_COMPLETE = "empty complete"
_LONGEST_UNRESOLVED = 1_000
_CAME_BACK = "it was not in its place when a complete was made"

Version = tuple[Any, ...]
"""A file of an archive: path, size in bytes, sha256, inode, mtime and ctime."""


class MediaJournal:
    """The open journal; changes are committed when the block of `open_journal` succeeds."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def held(self, since: Watermark | None, base_at: datetime | None = None) -> HeldMedia:
        """Return what the receiver has at a point; nothing if that is unknown.

        Args:
            since: The point.
            base_at: Snapshot of a complete that the receiver has applied, from which the chain of
                archives need not start.
        """
        chain = set[int]() if base_at is None else self._archives_of_base(to_microseconds(base_at))
        if since is not None:
            chain |= self._chain(to_microseconds(since.snapshot_at), chain)
        return HeldMedia(self._connection, frozenset(chain))

    def _chain(self, point: int | None, until: Collection[int] = ()) -> set[int]:
        """Return an archive and those before it back to a complete; nothing if it is unknown."""
        chain = set[int]()
        while point is not None and point not in until and point not in chain:
            row = self._connection.execute(
                "SELECT kind, since FROM archive WHERE archive = ?", [point]
            ).fetchone()
            if row is None:
                break
            chain.add(point)
            point = None if row[0] == ArchiveKind.COMPLETE else row[1]
        return chain

    def _archives_of_base(self, base: int) -> set[int]:
        """Return a complete; with all that was recorded before it, if its files are not recorded.

        It lists those of their files that were not replaced or deleted meanwhile, and the receiver
        verifies what an archive lists.
        """
        query = "SELECT archive FROM archive WHERE archive < ?"
        earlier = (number for (number,) in self._connection.execute(query, [base]))
        return self._chain(base) or {base, *earlier}

    def has_complete_until(self, point: Watermark) -> bool:
        """Return whether it has a complete up to a point, and so everything that was listed since.

        It is otherwise a new journal, in place of one that was lost.
        """
        row = self._connection.execute(
            "SELECT 1 FROM archive WHERE kind = ? AND archive <= ?",
            [str(ArchiveKind.COMPLETE), to_microseconds(point.snapshot_at)],
        )
        return row.fetchone() is not None

    def has_listed(self, path: str) -> bool:
        """Return whether an archive of the journal lists a path."""
        row = self._connection.execute("SELECT 1 FROM carried WHERE path = ? LIMIT 1", [path])
        return row.fetchone() is not None

    def has_files(self) -> bool:
        """Return whether an archive of the journal lists a file."""
        return self._connection.execute("SELECT 1 FROM carried LIMIT 1").fetchone() is not None

    def remember(self, manifest: Manifest, versions: Callable[[], Iterable[Version]]) -> None:
        """Record the files of an archive that was published.

        After a complete that lists no file the receiver keeps what it has, since the disk of the
        media folder may not have been mounted: it is recorded as a follower of its base, whose
        files the next complete lists as held instead of carrying all of them again.

        Args:
            versions: Function that returns all files of the archive.
        """
        archive, kind = to_microseconds(manifest.snapshot_at), str(manifest.kind)
        after: Watermark | BaseArchive | None = None
        if manifest.kind is ArchiveKind.PARTIAL:
            after = manifest.since
        elif self.has_files() and not any(versions()):
            kind, after = _EMPTY_COMPLETE, manifest.base
        self._connection.execute(
            "INSERT OR REPLACE INTO archive VALUES (?, ?, ?)",
            [archive, kind, after and to_microseconds(after.snapshot_at)],
        )
        if manifest.kind is ArchiveKind.PARTIAL:
            self._forget_other_shapes(version[0] for version in versions())
        self._connection.executemany(
            "INSERT OR REPLACE INTO carried (archive, path, size_bytes, sha256, inode, modified_ns,"
            " changed_ns) VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((archive, *version) for version in versions()),
        )
        if kind == ArchiveKind.COMPLETE:
            self._owe_left_out(archive)
            self._keep_newest_completes(manifest.base)

    def forget_after(self, latest: datetime) -> None:
        """Delete the archives with later snapshots: a clock was ahead when they were made.

        The receiver does not apply them before their dates. Until then each would be the newest
        complete that does not list a new file, and a later version of every file that was replaced.
        """
        # The table of files is large, and has no index of archives.
        limit = to_microseconds(latest)
        row = self._connection.execute("SELECT max(archive) FROM archive").fetchone()
        if row[0] is not None and row[0] > limit:
            self._forget(">", limit)

    def leave_out(self, snapshot_at: datetime, paths: Iterable[str]) -> None:
        """Record files that a partial leaves out because the receiver has them.

        A complete whose snapshot is earlier may be on its way. If it does not list such a file,
        because the file was not in its place for a while, the receiver deletes it.
        """
        self._connection.executemany(
            "INSERT OR REPLACE INTO left_out VALUES (?, ?)",
            ((path, to_microseconds(snapshot_at)) for path in paths),
        )

    def owed(self) -> tuple[str, ...]:
        """Return paths that could not be sent earlier; the path of a folder ends with ``/``."""
        return tuple(row[0] for row in self._connection.execute("SELECT path FROM owed"))

    def owe(self, omitted: Iterable[OmittedMedia]) -> None:
        """Record what to send with later archives until the receiver has it."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO owed VALUES (?, ?)",
            [(item.path, item.reason) for item in omitted if _can_be_owed(item)],
        )

    def settle(self, paths: Iterable[str]) -> None:
        """Delete paths that the receiver now has, or that no longer exist."""
        self._connection.executemany("DELETE FROM owed WHERE path = ?", [(p,) for p in paths])

    def unresolved(self) -> frozenset[str]:
        """Return names in rows for which an earlier archive found no file."""
        return frozenset(row[0] for row in self._connection.execute("SELECT name FROM unresolved"))

    def keep_unresolved(self, before: Iterable[str], now: Iterable[str]) -> None:
        """Replace the names that were known before; those that another dump added stay.

        Only a limited number of names is kept: what is shown is the first ones.
        """
        self._connection.executemany(
            "DELETE FROM unresolved WHERE name = ?", [(name,) for name in before]
        )
        kept = self._connection.execute("SELECT count(*) FROM unresolved").fetchone()[0]
        short = sorted(name for name in now if len(name) <= _LONGEST_UNRESOLVED)
        self._connection.executemany(
            "INSERT OR IGNORE INTO unresolved VALUES (?)",
            [(name,) for name in short[: max(0, MOST_UNRESOLVED - kept)]],
        )

    def _forget_other_shapes(self, paths: Iterable[str]) -> None:
        """Delete versions of paths where a file replaces a folder, or a folder a file.

        The receiver moves what it had there.
        """
        for path in paths:
            parents = [(p,) for p in folders_of(path)]
            self._connection.executemany("DELETE FROM carried WHERE path = ?", parents)
            self._connection.execute(
                "DELETE FROM carried WHERE path > ? AND path < ?", range_below(path)
            )

    def _owe_left_out(self, complete: int) -> None:
        """Owe the files that later partials left out and this complete does not list."""
        self._connection.execute(
            "INSERT OR REPLACE INTO owed SELECT path, ? FROM left_out AS l WHERE archive > ?"
            " AND NOT EXISTS"
            " (SELECT 1 FROM carried AS c WHERE c.path = l.path AND c.archive = ?)",
            [_CAME_BACK, complete, complete],
        )
        self._connection.execute("DELETE FROM left_out WHERE archive <= ?", [complete])

    def _keep_newest_completes(self, base: BaseArchive | None) -> None:
        """Delete what is older than they and than the base of the last one.

        While the receiver applies nothing, each complete has the same base, however old it is.
        """
        row = self._connection.execute(
            "SELECT archive FROM archive WHERE kind = ? ORDER BY archive DESC LIMIT 1 OFFSET ?",
            [str(ArchiveKind.COMPLETE), KEPT_COMPLETES - 1],
        ).fetchone()
        if row is not None:
            oldest = row[0] if base is None else min(row[0], to_microseconds(base.snapshot_at))
            self._forget("<", oldest)

    def _forget(self, comparison: Literal["<", ">"], archive: int) -> None:
        for table in ("carried", "archive"):
            self._connection.execute(f"DELETE FROM {table} WHERE archive {comparison} ?", [archive])  # noqa: S608  texts of ours


@contextmanager
def open_journal(scratch: Path) -> Iterator[MediaJournal]:
    """Open the journal of a scratch folder; create it if it is missing or cannot be read.

    One that is damaged or of a newer version is moved away.

    Raises:
        MediaJournalError: It cannot be written.
        MediaJournalBusyError: Another process held it for too long.
        MediaJournalDamagedError: The block found it damaged; the next one has a new journal.
    """
    path = scratch / MEDIA_JOURNAL
    try:
        with closing(_connect(path)) as connection, connection:
            yield MediaJournal(connection)
    except sqlite3.Error as error:
        if is_damaged(error):
            raise MediaJournalDamagedError(
                f"the journal of media files {path} was damaged ({error})",
                remedy=f"nothing to do: it is moved to {_move_away(path)}, and the next archive"
                " carries every file that its rows name, or a complete everything",
            ) from error
        if is_busy(error):
            raise MediaJournalBusyError(
                f"another process holds the journal of media files {path} ({error})",
                remedy="it is tried again; if it repeats, `fuser` with this path names the process:"
                " exclude the scratch folder from backups, and do not remove the file",
            ) from error
        raise MediaJournalError(
            f"the journal of media files {path} cannot be used ({error})",
            remedy="check the rights and the free space there, and the free space in"
            f" {temporary_folder()} for temporary files, or remove the file: the next partial then"
            " carries every file that its rows name",
        ) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT_SECONDS)
    try:
        if _prepare(connection):
            return connection
        suffix = ".newer"
    except sqlite3.DatabaseError as error:
        connection.close()
        if not is_damaged(error):
            raise  # locked, no right, no space
        suffix = ".damaged"
    connection.close()
    _move_away(path, suffix)
    connection = sqlite3.connect(path, timeout=_WAIT_SECONDS)
    _prepare(connection)
    return connection


def _move_away(path: Path, suffix: str = ".damaged") -> Path:
    """Rename the file, in place of an earlier one, without the rollback journal of its pages."""
    aside = path.with_suffix(suffix)
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    with suppress(FileNotFoundError):  # by another dump
        path.replace(aside)
    return aside


def _prepare(connection: sqlite3.Connection) -> bool:
    """Bring the tables to this version; return False if they are of a newer one."""
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > _VERSION:
        return False
    if found == _WITHOUT_UNRESOLVED:
        # 0.2.0 empties a journal of a newer version in place, after a rollback, without these.
        connection.executescript(_DROP_LATER_TABLES + _ADD_LATER_TABLES)
    elif found == _WITHOUT_LEFT_OUT:
        connection.executescript(_ADD_LATER_TABLES)
    elif found != _VERSION:
        connection.executescript(_DDL + _ADD_LATER_TABLES)
    return True


def _can_be_owed(item: OmittedMedia) -> bool:
    return item.temporary and is_safe_path(item.path)


def versions_of(manifest: Manifest, stamps: Mapping[str, FileStamp]) -> Iterator[Version]:
    """Yield the files that a manifest lists itself.

    Args:
        stamps: Stamps of files whose content is known to belong to them, by member of the archive.
    """
    for entry in manifest.media:
        stamp = stamps.get(entry.member)
        facts = (stamp.inode, stamp.modified_ns, stamp.changed_ns) if stamp else (None, None, None)
        yield (entry.path, entry.size_bytes, entry.sha256, *facts)


_DDL = """
BEGIN;
DROP TABLE IF EXISTS archive;
DROP TABLE IF EXISTS carried;
DROP TABLE IF EXISTS owed;
CREATE TABLE archive (archive integer PRIMARY KEY, kind text NOT NULL, since integer);
CREATE TABLE carried (
    path text, archive integer, size_bytes integer NOT NULL, sha256 text NOT NULL, inode integer,
    modified_ns integer, changed_ns integer, PRIMARY KEY (path, archive)
) WITHOUT ROWID;
CREATE TABLE owed (path text PRIMARY KEY, reason text NOT NULL);
COMMIT;
"""
_DROP_LATER_TABLES = "DROP TABLE IF EXISTS unresolved; DROP TABLE IF EXISTS left_out;"
_ADD_LATER_TABLES = f"""
BEGIN;
CREATE TABLE IF NOT EXISTS unresolved (name text PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS left_out (path text PRIMARY KEY, archive integer NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
COMMIT;
"""
