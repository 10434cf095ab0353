"""What can go wrong at a database."""

from __future__ import annotations

from ar_sync_pipeline.errors import ParkedError, TerminalError, TransientError


class DatabaseUnreachableError(TransientError):
    """No connection, or it broke: the server may come back."""


class DatabaseRefusedError(TerminalError):
    """The server answered no: wrong role, password or database name, or a right is missing."""


class DatabaseFailedError(TransientError):
    """The server gave a statement up: a deadlock, a time-out, a full disk, a shutdown."""


class LockWaitError(TransientError):
    """A lock could not be had in time: another session holds it."""


class BlockingEndedError(TransientError):
    """Another session waited for a lock of ours for too long, so our work was ended."""


class SchemaError(TerminalError):
    """A table lacks something that copying needs, such as a primary key."""


class SchemaMismatchError(ParkedError):
    """An archive does not fit the receiver's tables; it will after a migration."""


class LedgerOfAnotherCatalogError(TerminalError):
    """The receiver's database keeps the ledger of another catalog."""


class LoadInProgressError(TransientError):
    """Another load holds the receiver's load lock."""


class LoadRefusedError(ParkedError):
    """The receiver's constraints refuse the rows; another archive may bring what they miss."""


class DigestMismatchError(ParkedError):
    """After a load the receiver's rows were not the sender's; the load was rolled back."""
