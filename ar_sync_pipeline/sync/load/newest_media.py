"""Which archive of a load brings a media file: the last one that lists it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from uuid import UUID

from ar_sync_pipeline.archive.manifest_media import ListedMedia
from ar_sync_pipeline.archive.member_names import folders_of, range_below


class NewestMedia:
    """Files of the archives after the first one of a plan, in a temporary database.

    A version of a file does not count if a later archive lists the file, has a folder of its name,
    or has a file with the name of one of its folders. The files of the first archive, which is a
    complete as a rule and by far the largest, need not be stored for that.

    Args:
        first: Id of the first archive of the plan.
    """

    def __init__(self, first: UUID | None) -> None:
        self._first = first
        # SQLite writes a temporary database to the disk when its cache is full.
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.executescript(_TABLES)
        self._is_empty = True

    def add(self, archive_id: UUID, media: Iterable[ListedMedia]) -> None:
        """Add the files of an archive; the archives come in reverse order, without the first."""
        name = str(archive_id)
        counted = ((entry.path, name) for entry in media if not self._is_covered(entry.path))
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT INTO pending VALUES (?, ?)", counted)
            # Only now, since files of one archive do not cover each other.
            added = self._connection.execute("INSERT INTO newest SELECT * FROM pending").rowcount
            self._connection.execute("DELETE FROM pending")
        self._is_empty = self._is_empty and not added

    def is_of(self, archive_id: UUID, path: str) -> bool:
        """Return whether the version of a file in an archive is the one that counts."""
        if archive_id == self._first:
            return self._is_empty or not self._is_covered(path)
        return self._archive_of(path) == str(archive_id)

    def close(self) -> None:
        """Delete the temporary database."""
        self._connection.close()

    def _is_covered(self, path: str) -> bool:
        if any(self._archive_of(name) is not None for name in (path, *folders_of(path))):
            return True
        return self._connection.execute(_BELOW, range_below(path)).fetchone() is not None

    def _archive_of(self, path: str) -> str | None:
        row = self._connection.execute("SELECT archive FROM newest WHERE path = ?", [path])
        found = row.fetchone()
        return None if found is None else str(found[0])


_TABLES = """
CREATE TABLE newest (path text PRIMARY KEY, archive text NOT NULL) WITHOUT ROWID;
CREATE TABLE pending (path text, archive text);
"""
_BELOW = "SELECT 1 FROM newest WHERE path > ? AND path < ? LIMIT 1"
