"""Which message is due when: one opening and one recovery for each cause, whatever comes between.

Pure: every function takes what is known and gives back what is known now, with the notices that
are due. `ar_sync_pipeline.alerts.store` keeps the result in one transaction.

An incident belongs to a **cause**, such as "the way to the receiver". It is reported by
**sources**, such as a step of a job or an asset check; when one of them succeeds later than
anything was last seen to fail, it is over.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

BY_HAND = "a person"
REMIND_AFTER = timedelta(hours=24)


class NoticeKind(StrEnum):
    """Why a message is sent."""

    OPENED = "opened"
    REMINDER = "reminder"
    RECOVERED = "recovered"


@dataclass(frozen=True)
class Problem:
    """Something seen to fail, once.

    Attributes:
        cause: key of the incident that it belongs to.
        source: key of what failed; its success ends the incident.
        occurrence: names this failure among those of the cause, so that two who see the same one
            (a hook and a sensor) count it once.
        at: when it failed.
        title: the cause in words.
        what: the source in words.
        sentence: what is wrong, one sentence.
        remedy: what to do; may be empty where the sentence says it.
        run_id: of the run that failed, if it was one.
        page: path below the Dagster UI's address where more is to be seen.
        runbook: the page for operators, a path on this machine.
        muted_by: a cause of which this is only a consequence: while it has an open incident,
            nothing is told of this.
    """

    cause: str
    source: str
    occurrence: str
    at: datetime
    title: str
    what: str
    sentence: str
    remedy: str = ""
    run_id: str | None = None
    page: str = ""
    muted_by: str | None = None
    runbook: str = ""


@dataclass(frozen=True)
class Success:
    """Something seen to work."""

    source: str
    at: datetime


@dataclass(frozen=True)
class Incident:
    """A cause from its first failure to its recovery.

    Attributes:
        opened_at: when it was first seen to fail.
        last_seen_at: when it was last seen to fail.
        told_at: when the newest opening or reminder fell due.
        count: how often it was seen to fail, the first time included.
        sources: what failed, in words, by key.
        latest: the newest failure.
        recovered_at: when it was over; None while it is open.
        recovered_by: the source that was seen to work.
    """

    cause: str
    opened_at: datetime
    last_seen_at: datetime
    told_at: datetime
    count: int
    sources: dict[str, str]
    latest: Problem
    recovered_at: datetime | None = None
    recovered_by: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it still lasts."""
        return self.recovered_at is None

    @property
    def repeats(self) -> int:
        """How often it was seen after the first time."""
        return self.count - 1


@dataclass(frozen=True)
class Outcome:
    """An incident after something happened, and the notices that this made due."""

    incident: Incident | None
    due: tuple[NoticeKind, ...] = field(default=())


def fail(incident: Incident | None, problem: Problem, now: datetime) -> Outcome:
    """Return a failure was seen that was not seen before.

    Args:
        incident: the newest one of the cause, open or over.
        now: from when on a reminder is counted.
    """
    if incident is None or not incident.is_open:
        if _is_old_news(incident, problem.at):
            return Outcome(incident)
        opened = Incident(
            problem.cause,
            opened_at=problem.at,
            last_seen_at=problem.at,
            told_at=now,
            count=1,
            sources={problem.source: problem.what},
            latest=problem,
        )
        return Outcome(opened, (NoticeKind.OPENED,))
    newer = problem.at >= incident.last_seen_at
    repeated = replace(
        incident,
        opened_at=min(incident.opened_at, problem.at),
        last_seen_at=max(incident.last_seen_at, problem.at),
        count=incident.count + 1,
        sources=incident.sources | {problem.source: problem.what},
        latest=problem if newer else incident.latest,
    )
    return Outcome(repeated)


def succeed(incident: Incident, success: Success) -> Outcome:
    """Return a source was seen to succeed; that ends an incident which it took part in.

    A success that is no later than the last failure proves nothing: the news of it came late.
    """
    concerned = incident.is_open and success.source in incident.sources
    if not concerned or success.at <= incident.last_seen_at:
        return Outcome(incident)
    over = replace(incident, recovered_at=success.at, recovered_by=success.source)
    return Outcome(over, (NoticeKind.RECOVERED,))


def close(incident: Incident, at: datetime) -> Outcome:
    """Return a person knows that it is over, or that it can never be seen to be."""
    if not incident.is_open:
        return Outcome(incident)
    over = replace(incident, recovered_at=at, recovered_by=BY_HAND)
    return Outcome(over, (NoticeKind.RECOVERED,))


def remind(incident: Incident, now: datetime) -> Outcome:
    """Time has passed."""
    if not incident.is_open or now - incident.told_at < REMIND_AFTER:
        return Outcome(incident)
    return Outcome(replace(incident, told_at=now), (NoticeKind.REMINDER,))


def _is_old_news(incident: Incident | None, at: datetime) -> bool:
    return incident is not None and incident.recovered_at is not None and at < incident.recovered_at
