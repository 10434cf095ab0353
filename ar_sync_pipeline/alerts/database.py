"""The SQLite file of incidents and unsent messages: opens, creates and locks it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

from pydantic import ValidationError

from ar_sync_pipeline.alerts.errors import AlertStoreError

# Hooks, the sensor and commands are separate processes; each holds the lock for milliseconds.
_LOCK_SECONDS = 10
_SCHEMA = """
CREATE TABLE IF NOT EXISTS store (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS incident (
  number INTEGER PRIMARY KEY AUTOINCREMENT, cause TEXT NOT NULL, is_open INTEGER NOT NULL,
  changed_at REAL NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS incident_cause ON incident (cause, number);
CREATE UNIQUE INDEX IF NOT EXISTS one_open_incident ON incident (cause) WHERE is_open;
CREATE TABLE IF NOT EXISTS seen (
  cause TEXT NOT NULL, occurrence TEXT NOT NULL, source TEXT NOT NULL, seen_at REAL NOT NULL,
  PRIMARY KEY (cause, occurrence, source)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT, incident INTEGER NOT NULL, cause TEXT NOT NULL,
  channel TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, made_at REAL NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, due_at REAL NOT NULL, lease_until REAL NOT NULL DEFAULT 0,
  error TEXT NOT NULL DEFAULT '', recipients TEXT NOT NULL DEFAULT '');
"""
_TO_VERSION_2 = "ALTER TABLE outbox ADD COLUMN recipients TEXT NOT NULL DEFAULT ''"
# Of what an older version has seen the source is unknown, which counts as any.
_TO_VERSION_3 = """
ALTER TABLE seen RENAME TO seen_of_any_source;
CREATE TABLE seen (
  cause TEXT NOT NULL, occurrence TEXT NOT NULL, source TEXT NOT NULL, seen_at REAL NOT NULL,
  PRIMARY KEY (cause, occurrence, source)) WITHOUT ROWID;
INSERT INTO seen SELECT cause, occurrence, '', seen_at FROM seen_of_any_source;
DROP TABLE seen_of_any_source;
"""
_UPGRADES = {1: _TO_VERSION_2 + ";" + _TO_VERSION_3, 2: _TO_VERSION_3}
_VERSION = 3


@contextmanager
def transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """Run the block in one transaction that locks out other processes.

    The file and its folder are created if they are missing.

    Raises:
        AlertStoreError: The file cannot be opened, read or written, or a newer version made it.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(
            sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                _prepare(connection, path)
                yield connection
    except (OSError, sqlite3.Error, ValidationError) as error:
        is_damaged = isinstance(error, ValidationError)
        reason = "it contains something that is no incident" if is_damaged else error
        raise AlertStoreError(
            f"the file of incidents {path} cannot be used ({reason})",
            remedy="check its permissions and the free space of its disk; if the file is damaged,"
            " move it away, and what still fails is reported again",
        ) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == _VERSION:
        return
    if version > _VERSION:
        raise AlertStoreError(
            f"the file of incidents {path} was made by a newer version of the product",
            remedy="install that version, or set AR_SYNC_STATE_FLDR to another folder",
        )
    for statement in filter(str.strip, _UPGRADES.get(version, _SCHEMA).split(";")):
        connection.execute(statement)
    if version not in _UPGRADES:
        connection.execute("INSERT INTO store VALUES (?)", (uuid4().hex,))
    connection.execute(f"PRAGMA user_version = {_VERSION:d}")
