"""The media files of one archive, in a database in its build folder, sorted by path.

It is SQLite, so that the number of files does not determine the memory of a dump. Rows are read in
pages: no statement stays open, and a page may be changed before the next one is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ar_sync_pipeline.archive.file_stamp import FileStamp
from ar_sync_pipeline.archive.manifest_media import MediaEntry
from ar_sync_pipeline.archive.media_list import ListedFile
from ar_sync_pipeline.archive.media_members import CarriedFile
from ar_sync_pipeline.archive.member_names import range_below
from ar_sync_pipeline.media.media_file import MediaFile
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.bundle_database import new_database, open_database
from ar_sync_pipeline.sync.dump.bundled_file import (
    BundledFile,
    Status,
    file_of_row,
    found_row,
    stamp_columns,
    stamp_of_row,
)

_PAGE = 1_000


class BundleFiles:
    """Open database of the files; `new_bundle_files` and `bundle_files` open it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, files: Iterable[MediaFile]) -> None:
        """Add files, or replace them."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO file (path, size_bytes, modified_us, device, inode,"
            " modified_ns, changed_ns) VALUES (?, ?, ?, ?, ?, ?, ?)",
            map(found_row, files),
        )

    def describe(self, described: Iterable[tuple[MediaEntry, FileStamp | None]]) -> None:
        """Record the content of files, each with its stamp before it was hashed."""
        self._connection.executemany(
            "UPDATE file SET sha256 = ?, size_bytes = ?, modified_us = ?, device = ?, inode = ?,"
            " modified_ns = ?, changed_ns = ? WHERE path = ?",
            (
                (
                    entry.sha256,
                    entry.size_bytes,
                    entry.modified_us,
                    *stamp_columns(
                        stamp if stamp and stamp.size_bytes == entry.size_bytes else None
                    ),
                    entry.path,
                )
                for entry, stamp in described
            ),
        )

    def describe_known(self, journal: Path, is_hashed_again: Callable[[str], bool]) -> None:
        """Record the content of files that are unchanged since an archive of the journal.

        Args:
            journal: The journal of media files, which exists.
            is_hashed_again: Whether a file is hashed all the same.
        """
        self._connection.create_function("is_hashed_again", 1, is_hashed_again)
        with self._attached(journal):
            self._connection.execute(_DESCRIBE_KNOWN)

    def mark_held(self, journal: Path, archives: Iterable[int]) -> None:
        """List without carrying what the receiver has: see `HeldMedia.has_content`.

        Args:
            journal: The journal of media files, which exists.
            archives: Archives that the receiver has applied.
        """
        self._connection.execute("CREATE TEMP TABLE applied (archive integer PRIMARY KEY)")
        self._connection.executemany(
            "INSERT INTO applied VALUES (?)", ((archive,) for archive in archives)
        )
        self._connection.execute("CREATE TEMP TABLE complete (archive integer PRIMARY KEY)")
        with self._attached(journal):
            self._connection.execute(_COMPLETES)
            self._connection.execute(_MARK_HELD, [Status.LISTED])

    def mark(self, paths: Iterable[str], status: Status) -> None:
        """Set what the archive does with files."""
        self._connection.executemany(
            "UPDATE file SET status = ? WHERE path = ?", ((status, path) for path in paths)
        )

    def has(self, path: str) -> bool:
        """Return whether a file is there that the receiver is not known to have."""
        row = self._connection.execute(
            "SELECT 1 FROM file WHERE path = ? AND status <> ?", [path, Status.HELD]
        )
        return row.fetchone() is not None

    def has_below(self, folder: str) -> bool:
        """Return whether a folder, ``name/``, has a file that the receiver may lack."""
        row = self._connection.execute(
            "SELECT 1 FROM file WHERE path > ? AND path < ? AND status <> ? LIMIT 1",
            [*range_below(folder.removesuffix("/")), Status.HELD],
        )
        return row.fetchone() is not None

    def drop(self, path: str) -> None:
        """Remove a file, if it is there."""
        with suppress(UnicodeEncodeError):  # a name that is not UTF-8 is never there
            self._connection.execute("DELETE FROM file WHERE path = ?", [path])

    def drop_carried_from(self, path: str) -> None:
        """Remove the carried files from a path on, in their order."""
        self._connection.execute(
            "DELETE FROM file WHERE path >= ? AND sha256 IS NOT NULL AND status = ?",
            [path, Status.CARRIED],
        )

    def add_names(self, names: Iterable[str]) -> None:
        """Add names of files in rows."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO named VALUES (?)", ((name,) for name in names)
        )

    def is_named(self, path: str) -> bool:
        """Return whether a row names a file."""
        try:
            row = self._connection.execute("SELECT 1 FROM named WHERE name = ?", [path])
        except UnicodeEncodeError:  # no row contains a name that is not UTF-8
            return False
        return row.fetchone() is not None

    def names_without_file(self) -> Iterator[list[str]]:
        """Yield pages of names that are not those of files."""
        last: str | None = None
        while page := self._connection.execute(
            "SELECT name FROM named WHERE (?1 IS NULL OR name > ?1) AND NOT EXISTS"
            " (SELECT 1 FROM file WHERE path = name) ORDER BY name LIMIT ?2",
            [last, _PAGE],
        ).fetchall():
            yield [name for (name,) in page]
            last = page[-1][0]

    def keep_named(self) -> None:
        """Drop every file that no row names."""
        self._connection.execute("DELETE FROM file WHERE path NOT IN (SELECT name FROM named)")

    def lose(self, names: Iterable[str], *, missing: bool) -> None:
        """Record names without a file; ``missing``: they could be those of files."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO lost VALUES (?, ?)", ((name, missing) for name in names)
        )

    def lost(self, limit: int, *, missing_only: bool) -> list[str]:
        """Return the first names without a file, sorted."""
        query = "SELECT name FROM lost WHERE missing OR NOT ? ORDER BY name LIMIT ?"
        return [name for (name,) in self._connection.execute(query, [missing_only, limit])]

    def count_missing(self) -> int:
        """Return the number of names that could be those of files, and are not."""
        row = self._connection.execute("SELECT count(*) FROM lost WHERE missing").fetchone()
        return int(row[0])

    def all(self) -> Iterator[BundledFile]:
        """Yield every file, sorted by path."""
        return self._rows("true")

    def undescribed(self) -> Iterator[list[BundledFile]]:
        """Yield pages of files to hash, not of those that the receiver is known to have."""
        pages = self._pages(f"sha256 IS NULL AND status <> {Status.HELD:d}")
        return ([file_of_row(row) for row in page] for page in pages)

    def listed(self) -> Iterator[BundledFile]:
        """Yield the files that the archive lists."""
        return self._rows(_IS_LISTED)

    def carried_beyond(self, most_bytes: int, smallest_bytes: int) -> Iterator[str]:
        """Yield the largest files to carry until the others have no more bytes than this.

        Args:
            smallest_bytes: Size of a file from which on it is one of them.
        """
        condition = f"FROM file WHERE status = {Status.CARRIED:d}"
        query = f"SELECT total(size_bytes) {condition}"  # sum() fails from 2**63 on: sparse files
        carried_bytes = self._connection.execute(query).fetchone()[0]
        query = f"SELECT path, size_bytes {condition} AND size_bytes > ? ORDER BY size_bytes DESC"
        for path, size_bytes in self._connection.execute(query, [smallest_bytes]).fetchall():
            if carried_bytes <= most_bytes:
                return
            carried_bytes -= size_bytes
            yield path

    def held(self) -> Iterator[BundledFile]:
        """Yield the files that the receiver is known to have."""
        return self._rows(f"status = {Status.HELD:d}")

    def lines(self) -> Iterator[ListedFile]:
        """Yield the lines of the archive's media list."""
        for row in self._each(_IS_LISTED):
            path, size_bytes, modified_us, sha256, status, *_ = row
            yield ListedFile(path, size_bytes, sha256, modified_us, status == Status.CARRIED)

    def versions(self) -> Iterator[tuple[Any, ...]]:
        """Yield the files that the archive lists, as the journal of media files stores them."""
        for row in self._each(_IS_LISTED):
            path, size_bytes, _, sha256, _, _, inode, modified_ns, changed_ns = row
            yield path, size_bytes, sha256, inode, modified_ns, changed_ns

    def carried_after(self, path: str, folder: Path) -> Iterator[CarriedFile]:
        """Yield the files after a path that the archive carries, from a media folder."""
        for row in self._each(f"sha256 IS NOT NULL AND status = {Status.CARRIED:d}", path):
            name, size_bytes, _, sha256, *_ = row
            yield CarriedFile(name, size_bytes, sha256, folder, name, stamp_of_row(row))

    def get(self, path: str) -> BundledFile | None:
        """Return a file; None if it is not there."""
        row = self._connection.execute(f"{_SELECT} path = ?", [path]).fetchone()
        return None if row is None else file_of_row(row)

    def folders_among_files(self) -> list[str]:
        """Return paths of files that are also folders of other files."""
        return [
            path
            for (path,) in self._connection.execute(
                "SELECT path FROM file AS f WHERE EXISTS (SELECT 1 FROM file AS other"
                " WHERE other.path > f.path || '/' AND other.path < f.path || '0')"
            )
        ]

    def totals(self) -> tuple[int, int, int]:
        """Return the listed files, the files that are not carried, and the carried bytes."""
        row = self._connection.execute(
            "SELECT coalesce(sum(status <> ?1 AND sha256 IS NOT NULL), 0),"
            " coalesce(sum(status <> ?2), 0),"
            " coalesce(sum(CASE WHEN status = ?2 AND sha256 IS NOT NULL THEN size_bytes END), 0)"
            " FROM file",
            [Status.HELD, Status.CARRIED],
        ).fetchone()
        return int(row[0]), int(row[1]), int(row[2])

    def _rows(self, condition: str) -> Iterator[BundledFile]:
        return map(file_of_row, self._each(condition))

    def _each(self, condition: str, after: str = "") -> Iterator[tuple[Any, ...]]:
        return chain.from_iterable(self._pages(condition, after))

    def _pages(self, condition: str, after: str = "") -> Iterator[list[tuple[Any, ...]]]:
        query = f"{_SELECT} path > ? AND {condition} ORDER BY path LIMIT ?"
        while page := self._connection.execute(query, [after, _PAGE]).fetchall():
            yield page
            after = page[-1][0]

    @contextmanager
    def _attached(self, journal: Path) -> Iterator[None]:
        """Attach the journal, for one statement: its lock lasts as long as a transaction."""
        self._connection.execute("COMMIT")
        self._connection.execute("ATTACH ? AS journal", [str(journal)])
        try:
            yield
        finally:
            self._connection.execute("DETACH journal")
            self._connection.execute("BEGIN")


@contextmanager
def new_bundle_files(build: BuildFolder) -> Iterator[BundleFiles]:
    """Create the database, in place of that of an earlier attempt; it is complete at the end."""
    with new_database(build) as connection:
        yield from _in_one_transaction(connection)


@contextmanager
def bundle_files(build: BuildFolder) -> Iterator[BundleFiles]:
    """Open the database; changes are stored if the block succeeds.

    Raises:
        BuildMissingError: The media files were not bundled in this run.
        BuildDamagedError: The database is damaged.
    """
    with open_database(build) as connection:
        yield from _in_one_transaction(connection)


@dataclass(frozen=True)
class CarriedFiles:
    """The carried files of a build folder, for the stream of the archive."""

    build: BuildFolder
    media_folder: Path

    def carried_after(self, path: str) -> Iterator[CarriedFile]:
        """Yield the carried files after a path in order."""
        with open_database(self.build) as connection:
            yield from BundleFiles(connection).carried_after(path, self.media_folder)


def _in_one_transaction(connection: sqlite3.Connection) -> Iterator[BundleFiles]:
    connection.execute("BEGIN")
    yield BundleFiles(connection)
    connection.execute("COMMIT")


_SELECT = (
    "SELECT path, size_bytes, modified_us, sha256, status, device, inode, modified_ns, changed_ns"
    " FROM file WHERE"
)
_IS_LISTED = f"sha256 IS NOT NULL AND status <> {Status.HELD:d}"
# Its stamp is that of a steady file, so that equal stamps mean equal bytes.
_DESCRIBE_KNOWN = """
UPDATE file SET sha256 = (
    SELECT known.sha256 FROM journal.carried AS known
    WHERE known.path = file.path AND known.size_bytes = file.size_bytes
        AND known.inode = file.inode AND known.modified_ns = file.modified_ns
        AND known.changed_ns = file.changed_ns
    ORDER BY known.archive DESC LIMIT 1)
WHERE inode IS NOT NULL AND NOT is_hashed_again(path)
"""
# The plus keeps SQLite from a search for each applied archive, of which a day has hundreds.
_MARK_HELD = """
UPDATE file SET status = ?
WHERE sha256 IS NOT NULL AND (SELECT
    min(known.size_bytes = file.size_bytes AND known.sha256 = file.sha256)
    FROM journal.carried AS known WHERE known.path = file.path AND known.archive >=
        (SELECT max(archive) FROM journal.carried AS applied WHERE applied.path = file.path
            AND +applied.archive IN (SELECT archive FROM temp.applied)))
    AND NOT EXISTS (SELECT 1 FROM temp.complete WHERE NOT EXISTS
        (SELECT 1 FROM journal.carried AS known WHERE known.path = file.path
            AND known.archive = complete.archive)
        AND complete.archive > (SELECT max(archive) FROM journal.carried AS applied
            WHERE applied.path = file.path
                AND +applied.archive IN (SELECT archive FROM temp.applied)))
"""
# Few, and looked up for each file.
_COMPLETES = "INSERT INTO temp.complete SELECT archive FROM journal.archive WHERE kind = 'complete'"
