"""Durable incidents: saves each change together with the notices that it makes due."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter

from ar_sync_pipeline.alerts.database import transaction
from ar_sync_pipeline.alerts.incidents import (
    BY_HAND,
    Incident,
    Outcome,
    Problem,
    Success,
    close,
    corrected,
    fail,
    remind,
    repeat,
    succeed,
)
from ar_sync_pipeline.alerts.outbox import drop_unconfigured, enqueue

_INCIDENT = TypeAdapter(Incident)
# Longer than any hook, sensor or lost cursor looks back.
_SEEN_KEPT = timedelta(days=30)
_INCIDENTS_KEPT = timedelta(days=90)
_ANY_SOURCE = ""
_HAS_MORE = re.compile(r"\band [\d,]+ more\b")
# The connection is tested every hour. What was seen last before that may be over without a success
# of any of its sources, for example of the nightly complete.
_MUTES_FOR = timedelta(hours=2)


@dataclass(frozen=True)
class NumberedIncident:
    """An incident in the store; operators refer to it by its number."""

    number: int
    incident: Incident

    def corrected(self, at: datetime, now: datetime) -> NumberedIncident:
        """Return it without times of a clock that was ahead; see `incidents.corrected`."""
        return NumberedIncident(self.number, corrected(self.incident, at, now))


class IncidentStore:
    """The incidents of one side; safe with several processes, and if a process is killed.

    Each method is one transaction: either the incident has changed *and* its notices are due, or
    nothing has happened and the next call does it. Every call may be repeated.

    Args:
        path: Path of the SQLite file.
        channels: Names of the channels; without any, incidents are saved and nobody is notified.
    """

    def __init__(self, path: Path, channels: Sequence[str]) -> None:
        self._path = path
        self._channels = tuple(channels)

    def failed(self, problem: Problem, now: datetime) -> None:
        """Record a failure; the same occurrence counts once, and may end other incidents.

        What is known of its source only refreshes an open incident. If it lasts although another
        source has ended the incident, it is a new one, unless a person has closed it.

        Raises:
            AlertStoreError: The file cannot be used.
        """
        with transaction(self._path) as db:
            if _is_muted(db, problem):
                return
            sources = _sources_seen(db, problem)
            is_known = problem.source in sources or _ANY_SOURCE in sources
            if is_known and _is_over(db, problem, now):
                return
            if problem.ends_other_causes and not is_known:
                self._end_others(db, problem, now)
            newest = _newest_incident(db, problem.cause)
            if newest is not None:
                newest = newest.corrected(problem.at, now)
            incident = newest.incident if newest else None
            is_open = incident is not None and incident.is_open
            is_counted = (is_known and not _has_recovered(incident)) or (bool(sources) and is_open)
            changed = repeat(incident, problem) if is_counted else fail(incident, problem, now)
            if self._save(db, newest, changed, now):
                _remember(db, problem)

    def succeeded(self, success: Success, now: datetime) -> None:
        """Record a success, and end the incidents of its source.

        Raises:
            AlertStoreError: The file cannot be used.
        """
        with transaction(self._path) as db:
            for stored in _open_incidents(db):
                found = stored.corrected(success.at, now)
                self._save(db, found, succeed(found.incident, success), now)

    def close(self, number: int, now: datetime) -> bool:
        """Close an incident; return false if no open incident has this number.

        Raises:
            AlertStoreError: The file cannot be used.
        """
        with transaction(self._path) as db:
            for found in _open_incidents(db):
                if found.number == number:
                    right = found.corrected(now, now)
                    self._save(db, found, close(right.incident, now), now)
                    return True
        return False

    def answered(self, asked: str, remedy: str, of_any: str, now: datetime) -> None:
        """Replace what open incidents ask for, which somebody has done.

        If it differs for each finding of an incident, its sentence says it, and its remedy is that
        of its check, which is replaced once nothing of the kind is asked for any more.

        Args:
            asked: Remedy that somebody has followed.
            remedy: Remedy that replaces it.
            of_any: Text that each remedy of this kind contains.
            now: Current time.

        Raises:
            AlertStoreError: The file cannot be used.
        """
        with transaction(self._path) as db:
            for found in _open_incidents(db):
                latest = found.incident.latest
                sentence = latest.sentence.replace(asked, remedy)
                was_last = of_any not in sentence and not _HAS_MORE.search(sentence)
                is_over = asked in latest.remedy or (sentence != latest.sentence and was_last)
                kept = remedy if is_over else latest.remedy
                told = replace(latest, sentence=sentence, remedy=kept)
                self._save(db, found, Outcome(replace(found.incident, latest=told)), now)

    def remind(self, now: datetime) -> None:
        """Make reminders due; delete old incidents, and messages of channels that are gone.

        Raises:
            AlertStoreError: The file cannot be used.
        """
        with transaction(self._path) as db:
            for found in _open_incidents(db):
                right = found.corrected(now, now)
                self._save(db, found, remind(right.incident, now), now)
            drop_unconfigured(db, self._channels)
            db.execute("DELETE FROM seen WHERE seen_at < ?", ((now - _SEEN_KEPT).timestamp(),))
            db.execute(
                "DELETE FROM incident WHERE NOT is_open AND changed_at < ?",
                ((now - _INCIDENTS_KEPT).timestamp(),),
            )

    def open_incidents(self) -> list[NumberedIncident]:
        """Return open incidents, oldest first.

        Raises:
            AlertStoreError: The file cannot be used.
        """
        with transaction(self._path) as db:
            return list(_open_incidents(db))

    def _end_others(self, db: sqlite3.Connection, problem: Problem, now: datetime) -> None:
        """End incidents of other causes that no success could end while this source fails."""
        over = Success(problem.source, problem.at)
        reported = (problem.cause, *problem.other_causes)
        for stored in _open_incidents(db):
            found = stored.corrected(problem.at, now)
            if found.incident.cause not in reported and [*found.incident.sources] == [over.source]:
                self._save(db, found, succeed(found.incident, over), now)

    def _save(
        self,
        db: sqlite3.Connection,
        before: NumberedIncident | None,
        outcome: Outcome,
        now: datetime,
    ) -> bool:
        """Save a change with its notices; return whether there is one."""
        after = outcome.incident
        if after is None or (before is not None and after == before.incident):
            return False
        values = (after.is_open, now.timestamp(), _INCIDENT.dump_json(after).decode())
        if before is not None and before.incident.is_open:
            number = before.number
            db.execute(
                "UPDATE incident SET is_open = ?, changed_at = ?, body = ? WHERE number = ?",
                (*values, number),
            )
        else:
            number = db.execute(
                "INSERT INTO incident (is_open, changed_at, body, cause) VALUES (?, ?, ?, ?)"
                " RETURNING number",
                (*values, after.cause),
            ).fetchone()[0]
        for kind in outcome.due:
            enqueue(db, self._channels, number, after, kind, now)
        return True


def _sources_seen(db: sqlite3.Connection, problem: Problem) -> set[str]:
    """Return which sources have reported this occurrence."""
    found = db.execute(
        "SELECT source FROM seen WHERE cause = ? AND occurrence = ?",
        (problem.cause, problem.occurrence),
    )
    return {source for (source,) in found}


def _is_over(db: sqlite3.Connection, problem: Problem, now: datetime) -> bool:
    """Return whether a failure is of an incident that is over, not of one that is open now."""
    found = db.execute(
        "SELECT number, body FROM incident WHERE cause = ? AND NOT is_open"
        " ORDER BY number DESC LIMIT 1",
        (problem.cause,),
    )
    last = _one(found)
    recovered_at = last.corrected(problem.at, now).incident.recovered_at if last else None
    return recovered_at is not None and problem.at <= recovered_at


def _has_recovered(incident: Incident | None) -> bool:
    """Return whether a success has ended an incident, and no person has closed it."""
    return incident is not None and not incident.is_open and incident.recovered_by != BY_HAND


def _remember(db: sqlite3.Connection, problem: Problem) -> None:
    # A lasting failure is kept for as long as it is found.
    db.execute(
        "INSERT OR REPLACE INTO seen (cause, occurrence, source, seen_at) VALUES (?, ?, ?, ?)",
        (problem.cause, problem.occurrence, problem.source, problem.at.timestamp()),
    )


def _newest_incident(db: sqlite3.Connection, cause: str) -> NumberedIncident | None:
    return _one(
        db.execute(
            "SELECT number, body FROM incident WHERE cause = ? ORDER BY number DESC LIMIT 1",
            (cause,),
        )
    )


def _is_muted(db: sqlite3.Connection, problem: Problem) -> bool:
    """Return whether a failure is a consequence of an open incident that was seen lately."""
    found = _one(
        db.execute(
            "SELECT number, body FROM incident WHERE cause = ? AND is_open", (problem.muted_by,)
        )
    )
    return found is not None and problem.at - found.incident.last_seen_at <= _MUTES_FOR


def _open_incidents(db: sqlite3.Connection) -> list[NumberedIncident]:
    found = db.execute("SELECT number, body FROM incident WHERE is_open ORDER BY number")
    return [NumberedIncident(number, _INCIDENT.validate_json(body)) for number, body in found]


def _one(found: sqlite3.Cursor) -> NumberedIncident | None:
    row = found.fetchone()
    return NumberedIncident(row[0], _INCIDENT.validate_json(row[1])) if row else None
