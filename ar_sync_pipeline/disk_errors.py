"""Failures of a disk, wherever they appear: full, over quota, mounted read-only, or broken."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from ar_sync_pipeline.errors import ParkedError
from ar_sync_pipeline.files import FreeSpace, free_space

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a disk without space."""
BROKEN = frozenset({errno.EROFS, errno.EIO, errno.ENOTCONN, errno.ESTALE})
"""Error numbers of a file system that cannot be written or read."""
_FULL_SQLITE = frozenset({sqlite3.SQLITE_FULL})
_BROKEN_SQLITE = frozenset({sqlite3.SQLITE_IOERR})
# A folder that is missing or that this account may not write to, too.
_CLOSED_SQLITE = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})
_DAMAGED_SQLITE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY_SQLITE = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_TEMPORARY = ("/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108
_LOW_BYTE = 0xFF


class DiskFullError(ParkedError):
    """A disk has no space left, or the account has used its quota."""


class DiskFailedError(ParkedError):
    """A file system, or a store on it, cannot be written or read: read-only, broken, or gone."""


def disk_error(error: BaseException | None) -> DiskFullError | DiskFailedError | None:
    """Return the disk's failure that caused an error; None if none did.

    Causes count too: closing a database connection may fail after it.
    """
    while error is not None:
        found = _of_system(error) if isinstance(error, OSError) else _of_sqlite(error)
        if found is not None:
            return found
        error = error.__cause__ or error.__context__
    return None


def is_full(error: BaseException) -> bool:
    """Return whether a full disk, or a quota that is used up, caused an error."""
    return isinstance(disk_error(error), DiskFullError)


def measure_free_space(folder: Path) -> FreeSpace:
    """Return the free space of the file system of a folder.

    Raises:
        DiskFailedError: The folder does not exist, or the operating system refuses.
    """
    try:
        return free_space(folder)
    except OSError as error:
        raise disk_error(error) or DiskFailedError(
            f"{folder} cannot be used ({error.strerror or error})",
            remedy="check that the folder exists, that its file system is mounted, and that this"
            " account may read it; the next run tries it again",
        ) from error


def _of_system(error: OSError) -> DiskFullError | DiskFailedError | None:
    place = f"the disk of {error.filename}" if error.filename else "a disk of this machine"
    reason = error.strerror or "no reason is known"
    if error.errno in NO_SPACE:
        return _full(f"{place} is full ({reason})")
    return _failed(f"{place} fails ({reason})") if error.errno in BROKEN else None


def _of_sqlite(error: BaseException) -> DiskFullError | DiskFailedError | None:
    if not isinstance(error, sqlite3.Error):
        return None
    code = _primary_code(error)
    if code in _FULL_SQLITE:
        return _full(
            "the disk of a journal or store, or of temporary files in"
            f" {temporary_folder()}, is full ({error})"
        )
    if code in _BROKEN_SQLITE:
        return _failed(
            "the disk of a journal or store, or of temporary files in"
            f" {temporary_folder()}, fails ({error})"
        )
    if code in _CLOSED_SQLITE:
        return DiskFailedError(
            f"a journal or store cannot be opened or written ({error})",
            remedy="check that the folders of the settings exist, that this account may write to"
            " them and to the files in them, and that their file systems are not mounted read-only",
        )
    return None


def temporary_folder() -> str:
    """Return the folder into which SQLite writes what its memory does not hold.

    It is the first one that this account may write to (SQLite manual, "Temporary Files Used By
    SQLite", section 5).
    """
    names = (os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), *_TEMPORARY)
    usable = (n for n in names if n and Path(n).is_dir() and os.access(n, os.W_OK | os.X_OK))
    return next(usable, ".")


def is_damaged(error: sqlite3.Error) -> bool:
    """Return whether the content of an SQLite file is damaged, as after a power failure."""
    return _primary_code(error) in _DAMAGED_SQLITE


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another process held the lock of an SQLite file for too long."""
    return _primary_code(error) in _BUSY_SQLITE


def _primary_code(error: sqlite3.Error) -> int:
    # The low byte is the primary code (SQLite manual, "Result and Error Codes").
    code: int = getattr(error, "sqlite_errorcode", 0) & _LOW_BYTE
    return code


def _full(problem: str) -> DiskFullError:
    return DiskFullError(
        problem,
        remedy="free space there (`df -h` and `df -i` show which file system is full); the next"
        " run does what this one could not",
    )


def _failed(problem: str) -> DiskFailedError:
    return DiskFailedError(
        problem,
        remedy="read the kernel's log, mount the file system writable again; the next run does"
        " what this one could not",
    )
