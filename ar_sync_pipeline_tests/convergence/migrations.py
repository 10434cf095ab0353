"""Migrations that the two servers run at different times, and row level security at the sender.

Labels of an enum cannot be dropped, so they stay, in both databases, for the histories after.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum

import psycopg

from ar_sync_pipeline_tests.convergence.application import TEAM_NAME
from ar_sync_pipeline_tests.convergence.receiver_side import ReceiverSide
from ar_sync_pipeline_tests.convergence.row_images import Connection
from ar_sync_pipeline_tests.convergence.sender_side import SenderSide

_COLUMN = (
    "SELECT 1 FROM pg_attribute WHERE attrelid = 'app_account'::regclass AND attname = 'extra'"
    " AND NOT attisdropped"
)
_CONSTRAINT = f"SELECT 1 FROM pg_constraint WHERE conname = '{TEAM_NAME}'"
_LABELS = (
    "SELECT enumlabel FROM pg_enum WHERE enumtypid = 'app_mood'::regtype ORDER BY enumsortorder"
)
_EXTRAS = "SELECT id, extra FROM app_account ORDER BY id"
POLICY = "only_mine"


class Migration(StrEnum):
    """What a migration does."""

    COLUMN = "add a column with a default"
    CONSTRAINT = "drop a unique constraint"
    LABEL = "add an enum label"


class Migrations:
    """The definitions of the tables at both servers."""

    def __init__(self, sender: SenderSide, receiver: ReceiverSide) -> None:
        self._sender = sender
        self._receiver = receiver

    def at_sender(self, migration: Migration, default: int) -> None:
        """Unless it has been done, or another session has the table locked."""
        with suppress(psycopg.errors.LockNotAvailable):
            match migration:
                case Migration.COLUMN:
                    _add_column(self._sender.connection, default)
                case Migration.CONSTRAINT:
                    _drop_constraint(self._sender.connection)
                case Migration.LABEL:
                    count = len(_ask(self._sender.connection, _LABELS))
                    self._sender.run(f"ALTER TYPE app_mood ADD VALUE 'mood {count}'")
        self._sender.note_definitions(dropped=self.dropped())

    def at_receiver(self, migration: Migration, default: int) -> None:
        """What only follows the sender's migrations is left out before them."""
        match migration:
            case Migration.COLUMN:
                _add_column(self._receiver.connection, default)
            case Migration.CONSTRAINT if self.dropped():
                _drop_constraint(self._receiver.connection)
            case Migration.LABEL:
                present = _ask(self._receiver.connection, _LABELS)
                for label in _ask(self._sender.connection, _LABELS):
                    if label not in present:
                        self._receiver.run(f"ALTER TYPE app_mood ADD VALUE '{label[0]}'")
            case _:
                pass

    def catch_up(self) -> None:
        """All that the sender has done, at the receiver."""
        for migration in Migration:
            if migration is not Migration.COLUMN or self._has_column(self._sender.connection):
                self.at_receiver(migration, default=99)

    def dropped(self) -> frozenset[str]:
        """Unique constraints that the sender has no longer."""
        there = _ask(self._sender.connection, _CONSTRAINT)
        return frozenset() if there else frozenset({TEAM_NAME})

    def undo(self) -> None:
        """The definitions as they were, for whatever comes after."""
        self.at_receiver(Migration.LABEL, default=0)
        for connection in (self._sender.connection, self._receiver.connection):
            with _patient(connection):
                if self._has_column(connection):
                    connection.execute("ALTER TABLE app_account DROP COLUMN extra")
                if not _ask(connection, _CONSTRAINT):
                    connection.execute("TRUNCATE app_team CASCADE")
                    connection.execute(
                        f"ALTER TABLE app_team ADD CONSTRAINT {TEAM_NAME} UNIQUE (name)".encode()
                    )

    def added_columns_are_equal(self) -> None:
        """Where both servers have the column, whatever its defaults were."""
        sender, receiver = self._sender.connection, self._receiver.connection
        if self._has_column(sender) and self._has_column(receiver):
            assert _ask(receiver, _EXTRAS) == _ask(sender, _EXTRAS)

    @contextmanager
    def hidden_rows(self) -> Iterator[bool]:
        """Row level security hides some accounts from the dumps' role."""
        connection = self._sender.connection
        try:
            connection.execute(
                f"CREATE POLICY {POLICY} ON app_account USING (id > 2);"
                " ALTER TABLE app_account ENABLE ROW LEVEL SECURITY".encode()
            )
        except psycopg.errors.LockNotAvailable:
            yield False
            return
        yield True
        with _patient(connection):
            connection.execute(
                "ALTER TABLE app_account DISABLE ROW LEVEL SECURITY;"
                f" DROP POLICY {POLICY} ON app_account".encode()
            )

    @staticmethod
    def _has_column(connection: Connection) -> bool:
        return bool(_ask(connection, _COLUMN))


def _add_column(connection: Connection, default: int) -> None:
    statement = f"ALTER TABLE app_account ADD COLUMN IF NOT EXISTS extra integer DEFAULT {default}"
    connection.execute(statement.encode())


def _drop_constraint(connection: Connection) -> None:
    connection.execute(f"ALTER TABLE app_team DROP CONSTRAINT IF EXISTS {TEAM_NAME}".encode())


def _ask(connection: Connection, query: str) -> list[tuple[object, ...]]:
    return connection.execute(query.encode()).fetchall()


@contextmanager
def _patient(connection: Connection) -> Iterator[None]:
    """Sessions that were just closed may hold their locks a moment longer."""
    connection.execute("SET lock_timeout = '10s'")
    try:
        yield
    finally:
        connection.execute("RESET lock_timeout")
