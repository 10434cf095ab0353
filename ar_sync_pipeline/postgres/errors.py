"""Errors of a database."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg

from ar_sync_pipeline.errors import ParkedError, TerminalError, TransientError
from ar_sync_pipeline.postgres.server_message import shown


class DatabaseUnreachableError(TransientError):
    """There is no connection, or it broke: the server may come back."""


class DatabaseRefusedError(TerminalError):
    """The server refused: wrong role, password or database name, or a right is missing.

    Attributes:
        is_of_connection: Whether it refused the connection, so that any work with it proves that it
            does not any more; a missing right may concern only the work that needs it.
    """

    def __init__(self, problem: str, *, remedy: str, is_of_connection: bool = False) -> None:
        super().__init__(problem, remedy=remedy)
        self.is_of_connection = is_of_connection


class DatabaseFailedError(TransientError):
    """The server cancelled a statement: a deadlock, a timeout, a full disk, a shutdown."""


class StatementFailedError(TerminalError):
    """The server answered a statement with an error that has no code of its own.

    Of the answer only the kind and the message are shown, without values of rows (`shown`).
    """

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(
            f"the database answered a statement with {type(error).__name__} ({shown(error)})",
            remedy="undo the last change of the tables, the role or the catalog if it explains"
            " this; else report it with the entry in the database server's log",
        )


class LockWaitError(TransientError):
    """A lock was not granted in time: another session holds it."""


class BlockingEndedError(TransientError):
    """Another session waited too long for a lock of this work, so the work was terminated."""


class SchemaError(TerminalError):
    """A table lacks something that replication needs, such as a primary key."""


class SchemaMismatchError(ParkedError):
    """An archive does not match the receiver's tables; it may after a migration."""


class LedgerOfAnotherCatalogError(TerminalError):
    """The receiver's database contains the ledger of another catalog."""


class LoadInProgressError(TransientError):
    """Another load holds the receiver's load lock."""


class LoadRefusedError(ParkedError):
    """The receiver's constraints refuse the rows; another archive may contain the missing ones.

    Attributes:
        between: Tables whose rows contradict each other, as the sender's never do at one time;
            empty: that is not the reason.
    """

    def __init__(self, problem: str, *, remedy: str, between: Iterable[str] = ()) -> None:
        super().__init__(problem, remedy=remedy)
        self.between = frozenset(between)


class DigestMismatchError(ParkedError):
    """After a load the receiver's rows differed from the sender's; the load was rolled back."""
