"""Whether a failure is the fault of the archive that was being processed.

Every error that is raised while an archive is processed is its fault by default, so that no kind
of bad archive can stop the others. The only exceptions are errors that would stop every archive:
the connection, the database server, the spool, the disk.
"""

from __future__ import annotations

import sqlite3

import psycopg

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.disk_errors import BROKEN, NO_SPACE
from ar_sync_pipeline.errors import ArSyncError, ParkedError, TransientError
from ar_sync_pipeline.merge.errors import refusal
from ar_sync_pipeline.postgres.connect import Connection, is_of_the_server
from ar_sync_pipeline.spool.errors import SpoolAccessError, SpoolLayoutError, SpoolMissingError
from ar_sync_pipeline.sync.errors import ArchiveRefusedError

_OF_THE_SPOOL = (SpoolAccessError, SpoolLayoutError, SpoolMissingError)


class UnexpectedFailureError(ParkedError):
    """Processing an archive failed with an unexpected error."""

    def __init__(self, error: Exception) -> None:
        what = type(error).__name__ + (f", {printable(str(error))}" if str(error) else "")
        super().__init__(
            f"working on the archive failed ({what})",
            remedy="report this with the log of the run; the archive is tried again by itself",
        )


def fault_of_archive(error: Exception, connection: Connection | None) -> ArSyncError | None:
    """Return the error to report for an archive; None if the failure is not its fault.

    Args:
        error: Error that was raised while the archive was processed.
        connection: Connection to the database; None if none is open.
    """
    if isinstance(error, (TransientError, ArchiveRefusedError, *_OF_THE_SPOOL)):
        return None
    if isinstance(error, ArSyncError):
        return error
    if isinstance(error, psycopg.Error):
        return None if is_of_the_server(error, connection) else refusal(error)
    if isinstance(error, OSError) and error.errno in NO_SPACE | BROKEN:
        return None
    if isinstance(error, sqlite3.Error):  # a temporary database: no space, or no folder for it
        return None
    return UnexpectedFailureError(error)
