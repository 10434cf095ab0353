"""The versions of media files that the receiver has, by the journal of media files."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ar_sync_pipeline.archive.file_stamp import FileStamp
from ar_sync_pipeline.archive.manifest_media import MediaEntry
from ar_sync_pipeline.archive.names import ArchiveKind

_UNLISTED = """
SELECT 1 FROM archive AS a WHERE a.kind = ? AND a.archive > ? AND NOT EXISTS
    (SELECT 1 FROM carried AS c WHERE c.path = ? AND c.archive = a.archive)
"""


@dataclass(frozen=True)
class _Carried:
    archive: int
    size_bytes: int
    sha256: str
    inode: int | None
    modified_ns: int | None
    changed_ns: int | None

    def is_at(self, stamp: FileStamp) -> bool:
        mine = (self.size_bytes, self.inode, self.modified_ns, self.changed_ns)
        return mine == (stamp.size_bytes, stamp.inode, stamp.modified_ns, stamp.changed_ns)

    def has(self, size_bytes: int, sha256: str) -> bool:
        return (self.size_bytes, self.sha256) == (size_bytes, sha256)


class HeldMedia:
    """The versions of files that the receiver has, at a point that it is known to have reached.

    These are the versions of the archive with that snapshot, of the one that it follows, and so on
    back to a complete. A lost archive is not in such a chain. If a later archive has another
    version of a file, or a later complete does not list it, the receiver's version is unknown.

    Attributes:
        archives: Numbers of these archives.
    """

    def __init__(self, connection: sqlite3.Connection, archives: frozenset[int]) -> None:
        self._connection = connection
        self.archives = archives

    def has_stamp(self, path: str, stamp: FileStamp | None) -> bool:
        """Return whether the receiver has the file that now has this stamp."""
        if stamp is None or not self.archives:
            return False
        newest, later = self._versions(path)
        if newest is None or not newest.is_at(stamp):
            return False
        return all(version.has(newest.size_bytes, newest.sha256) for version in later)

    def has_content(self, entry: MediaEntry) -> bool:
        """Return whether the receiver has a file with this content under its name."""
        newest, later = self._versions(entry.path) if self.archives else (None, [])
        versions = [newest, *later] if newest is not None else []
        return bool(versions) and all(v.has(entry.size_bytes, entry.sha256) for v in versions)

    def remember_stamp(self, path: str, stamp: FileStamp) -> None:
        """Store the stamp of a file whose content the receiver has; it need not be read again."""
        newest, _ = self._versions(path)
        if newest is not None:
            self._connection.execute(
                "UPDATE carried SET inode = ?, modified_ns = ?, changed_ns = ?"
                " WHERE path = ? AND archive = ?",
                [stamp.inode, stamp.modified_ns, stamp.changed_ns, path, newest.archive],
            )

    def _versions(self, path: str) -> tuple[_Carried | None, list[_Carried]]:
        """Return the newest version in the chain, and all versions in later archives."""
        later = list[_Carried]()
        for row in self._connection.execute(
            "SELECT archive, size_bytes, sha256, inode, modified_ns, changed_ns FROM carried"
            " WHERE path = ? ORDER BY archive DESC",
            [path],
        ):
            version = _Carried(*row)
            if version.archive in self.archives:
                is_listed = self._is_in_completes_after(version.archive, path)
                return (version if is_listed else None), later
            later.append(version)
        return None, later

    def _is_in_completes_after(self, archive: int, path: str) -> bool:
        row = self._connection.execute(_UNLISTED, [str(ArchiveKind.COMPLETE), archive, path])
        return row.fetchone() is None
