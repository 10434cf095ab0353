"""Outbox of due messages: saved with the incident, leased for delivery, deleted when sent.

If a process is killed between sending a message and `sent`, its lease expires and the message is
sent again: after a crash a mail may arrive twice, and none is lost.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter

from ar_sync_pipeline.alerts.database import transaction
from ar_sync_pipeline.alerts.incidents import Incident, NoticeKind
from ar_sync_pipeline.clock import CLOCK_TOLERANCE, from_epoch

# Longer than all timeouts of one delivery together.
_LEASE = timedelta(minutes=5)
_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(minutes=15)
_MOST_DOUBLINGS = 5
_INCIDENT = TypeAdapter(Incident)


@dataclass(frozen=True)
class Notice:
    """Content of a message: the state of an incident at one time.

    Attributes:
        store: Id of the file of incidents, so that a message that arrives twice has the same id.
        number: Number of the incident.
        made_at: Time when the notice fell due, which may be long before its delivery.
        recipients: Recipients who still lack it; empty: all of them.
    """

    store: str
    number: int
    kind: NoticeKind
    incident: Incident
    made_at: datetime
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True)
class DueMessage:
    """A leased notice for one channel.

    Attributes:
        attempts: Number of failed attempts.
    """

    message_id: int
    channel: str
    notice: Notice
    attempts: int


@dataclass(frozen=True)
class UnsentMessage:
    """A message that was not delivered yet, for operators.

    Attributes:
        error: Error of the last attempt; empty before the first.
    """

    channel: str
    kind: NoticeKind
    number: int
    made_at: datetime
    attempts: int
    error: str


def enqueue(
    db: sqlite3.Connection,
    channels: Sequence[str],
    number: int,
    incident: Incident,
    kind: NoticeKind,
    now: datetime,
) -> None:
    """Add a notice for every channel, in the transaction that changes the incident.

    A newer reminder replaces one that was not delivered.
    """
    if kind is NoticeKind.REMINDER:
        db.execute(
            "DELETE FROM outbox WHERE incident = ? AND kind = ? AND lease_until < ?",
            (number, kind, now.timestamp()),
        )
    at, body = now.timestamp(), _INCIDENT.dump_json(incident).decode()
    db.executemany(
        "INSERT INTO outbox (incident, cause, channel, kind, body, made_at, due_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(number, incident.cause, channel, kind, body, at, at) for channel in channels],
    )


def drop_unconfigured(db: sqlite3.Connection, channels: Sequence[str]) -> None:
    """Delete the messages of channels that are not configured any more: nobody sends them."""
    db.execute(
        "DELETE FROM outbox WHERE channel NOT IN (SELECT value FROM json_each(?))",
        [json.dumps(list(channels))],
    )


class Outbox:
    """The outbox of one side."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, now: datetime, channels: Sequence[str]) -> DueMessage | None:
        """Lease the oldest due message, so that no other process sends it.

        Messages of one cause pass a channel in order: while one waits for its next attempt, the
        later ones wait too, unless only some recipients lack it.

        Raises:
            AlertStoreError: The file cannot be used.
        """
        with transaction(self._path) as db:
            row = db.execute(
                "SELECT id, incident, channel, kind, body, made_at, attempts, recipients"
                " FROM outbox one WHERE channel IN (SELECT value FROM json_each(?))"
                " AND (due_at <= ? OR due_at > ?) AND (lease_until < ? OR lease_until > ?)"
                " AND NOT EXISTS (SELECT 1 FROM outbox earlier WHERE earlier.id < one.id"
                " AND earlier.cause = one.cause AND earlier.channel = one.channel"
                " AND earlier.recipients = '')"
                " ORDER BY id LIMIT 1",
                (
                    json.dumps(list(channels)),
                    now.timestamp(),
                    # No pause and no lease is longer: a clock that was ahead wrote the time.
                    (now + _LONGEST_PAUSE + CLOCK_TOLERANCE).timestamp(),
                    now.timestamp(),
                    (now + _LEASE + CLOCK_TOLERANCE).timestamp(),
                ),
            ).fetchone()
            if row is None:
                return None
            message_id, number, channel, kind, body, made_at, attempts, recipients = row
            (store,) = db.execute("SELECT id FROM store").fetchone()
            db.execute(
                "UPDATE outbox SET lease_until = ? WHERE id = ?",
                ((now + _LEASE).timestamp(), message_id),
            )
            incident = _INCIDENT.validate_json(body)
        lacking = tuple(json.loads(recipients or "[]"))
        notice = Notice(store, number, NoticeKind(kind), incident, from_epoch(made_at), lacking)
        return DueMessage(message_id, channel, notice, attempts)

    def sent(self, message: DueMessage) -> None:
        """Delete a delivered message.

        Raises:
            AlertStoreError: The file cannot be used; the message is sent again.
        """
        with transaction(self._path) as db:
            db.execute("DELETE FROM outbox WHERE id = ?", (message.message_id,))

    def put_back(
        self, message: DueMessage, now: datetime, error: str, recipients: Sequence[str]
    ) -> None:
        """Make a message due again, after a pause that grows to a quarter of an hour.

        Args:
            message: Message that was not delivered, or not to everybody.
            now: Time from which the pause is counted.
            error: Why it was not delivered.
            recipients: Recipients who still lack it; empty: all of them.

        Raises:
            AlertStoreError: The file cannot be used; the lease expires nevertheless.
        """
        doublings: int = min(message.attempts, _MOST_DOUBLINGS)
        due = now + min(_FIRST_PAUSE * (1 << doublings), _LONGEST_PAUSE)
        with transaction(self._path) as db:
            db.execute(
                "UPDATE outbox SET attempts = attempts + 1, due_at = ?, lease_until = 0, error = ?,"
                " recipients = ? WHERE id = ?",
                (
                    due.timestamp(),
                    error,
                    json.dumps(list(recipients)) if recipients else "",
                    message.message_id,
                ),
            )

    def unsent(self) -> list[UnsentMessage]:
        """Return undelivered messages, oldest first.

        Raises:
            AlertStoreError: The file cannot be used.
        """
        with transaction(self._path) as db:
            rows = db.execute(
                "SELECT channel, kind, incident, made_at, attempts, error FROM outbox ORDER BY id"
            ).fetchall()
        return [
            UnsentMessage(channel, NoticeKind(kind), number, from_epoch(made_at), attempts, error)
            for channel, kind, number, made_at, attempts, error in rows
        ]
