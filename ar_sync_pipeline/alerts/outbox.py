"""Messages that are due: written with the incident, taken on lease, gone when they were sent.

A process that is killed between sending and `sent` leaves a lease that runs out, so the message
goes once more: a mail may come twice after a crash, and none is lost.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter

from ar_sync_pipeline.alerts.database import transaction
from ar_sync_pipeline.alerts.incidents import Incident, NoticeKind

# Longer than the time-outs of one delivery together.
_LEASE = timedelta(minutes=5)
_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(minutes=15)
_MOST_DOUBLINGS = 5
_INCIDENT = TypeAdapter(Incident)


@dataclass(frozen=True)
class Notice:
    """What a message says: an incident at one moment.

    Attributes:
        store: names the file of incidents, so that a message that comes twice has the same id.
        number: of the incident.
        made_at: when it fell due, which may be long before it gets through.
    """

    store: str
    number: int
    kind: NoticeKind
    incident: Incident
    made_at: datetime


@dataclass(frozen=True)
class DueMessage:
    """A notice on its way through one channel.

    Attributes:
        attempts: how often it was tried in vain.
    """

    message_id: int
    channel: str
    notice: Notice
    attempts: int


@dataclass(frozen=True)
class UnsentMessage:
    """A message that has not got through, for people.

    Attributes:
        error: what the last attempt said; empty before the first one.
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
    """Make a notice due in every channel, inside the transaction that changes the incident.

    A reminder that never got through gives way to the newer one: it would say less.
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


class Outbox:
    """The messages of one side's file of incidents."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, now: datetime, channels: Sequence[str]) -> DueMessage | None:
        """Take the oldest message that is due, so that no other process sends it meanwhile.

        Messages of one cause go through a channel in their order: while one waits for its next
        attempt, those behind it wait too.

        Raises:
            AlertStoreError: the file cannot be used.
        """
        with transaction(self._path) as db:
            row = db.execute(
                "SELECT id, incident, channel, kind, body, made_at, attempts"
                " FROM outbox one WHERE channel IN (SELECT value FROM json_each(?))"
                " AND due_at <= ? AND lease_until < ?"
                " AND NOT EXISTS (SELECT 1 FROM outbox earlier WHERE earlier.id < one.id"
                " AND earlier.cause = one.cause AND earlier.channel = one.channel)"
                " ORDER BY id LIMIT 1",
                (json.dumps(list(channels)), now.timestamp(), now.timestamp()),
            ).fetchone()
            if row is None:
                return None
            message_id, number, channel, kind, body, made_at, attempts = row
            (store,) = db.execute("SELECT id FROM store").fetchone()
            db.execute(
                "UPDATE outbox SET lease_until = ? WHERE id = ?",
                ((now + _LEASE).timestamp(), message_id),
            )
        incident = _INCIDENT.validate_json(body)
        notice = Notice(store, number, NoticeKind(kind), incident, _moment(made_at))
        return DueMessage(message_id, channel, notice, attempts)

    def sent(self, message: DueMessage) -> None:
        """It got through.

        Raises:
            AlertStoreError: the file cannot be used; the message goes once more.
        """
        with transaction(self._path) as db:
            db.execute("DELETE FROM outbox WHERE id = ?", (message.message_id,))

    def put_back(self, message: DueMessage, now: datetime, error: str) -> None:
        """It did not get through: due again after a pause that grows to a quarter of an hour.

        Raises:
            AlertStoreError: the file cannot be used; the lease runs out all the same.
        """
        doublings: int = min(message.attempts, _MOST_DOUBLINGS)
        due = now + min(_FIRST_PAUSE * (1 << doublings), _LONGEST_PAUSE)
        with transaction(self._path) as db:
            db.execute(
                "UPDATE outbox SET attempts = attempts + 1, due_at = ?, lease_until = 0, error = ?"
                " WHERE id = ?",
                (due.timestamp(), error, message.message_id),
            )

    def unsent(self) -> list[UnsentMessage]:
        """Return what has not got through yet, oldest first.

        Raises:
            AlertStoreError: the file cannot be used.
        """
        with transaction(self._path) as db:
            rows = db.execute(
                "SELECT channel, kind, incident, made_at, attempts, error FROM outbox ORDER BY id"
            ).fetchall()
        return [
            UnsentMessage(channel, NoticeKind(kind), number, _moment(made_at), attempts, error)
            for channel, kind, number, made_at, attempts, error in rows
        ]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
