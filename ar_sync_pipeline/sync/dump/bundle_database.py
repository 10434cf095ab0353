"""The SQLite file of an archive's media files in its build folder: created, or opened again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ar_sync_pipeline.disk_errors import is_damaged
from ar_sync_pipeline.sync.dump.build_folder import (
    BUILD_AGAIN,
    BuildDamagedError,
    BuildFolder,
    BuildMissingError,
)

_FILE = "media.sqlite"
_CACHE_KIB = 32 * 1024
# The journal, which is attached, may be locked by another dump that records its files.
_WAIT_SECONDS = 60


@contextmanager
def new_database(build: BuildFolder) -> Iterator[sqlite3.Connection]:
    """Create the database, in place of that of an earlier attempt."""
    path = build.path / _FILE
    for old in build.path.glob(f"{_FILE}*"):
        old.unlink()
    with closing(_connect(path)) as connection:
        # A crash of the machine may damage it: the step is repeated, and begins here again.
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_TABLES)
        yield connection


@contextmanager
def open_database(build: BuildFolder) -> Iterator[sqlite3.Connection]:
    """Open the database again.

    Raises:
        BuildMissingError: The media files were not bundled in this run.
        BuildDamagedError: The database is damaged.
    """
    path = build.path / _FILE
    if not path.exists():
        raise BuildMissingError(
            f"the list of media files of this run is not there ({path} is missing)",
            remedy=BUILD_AGAIN,
        )
    try:
        with closing(_connect(path)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
                raise BuildDamagedError(path, "it is empty")
            yield connection
    except sqlite3.Error as error:
        if is_damaged(error):
            raise BuildDamagedError(path, error) from error
        raise


def _connect(path: Path) -> sqlite3.Connection:
    # The iterators of a stream may be closed by another thread than the one that opened them.
    connection = sqlite3.connect(
        path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


_TABLES = """
CREATE TABLE file (
    path text PRIMARY KEY, size_bytes integer NOT NULL, modified_us integer NOT NULL, sha256 text,
    status integer NOT NULL DEFAULT 0, device integer, inode integer, modified_ns integer,
    changed_ns integer
) WITHOUT ROWID;
CREATE TABLE named (name text PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE lost (name text PRIMARY KEY, missing integer NOT NULL) WITHOUT ROWID;
"""
