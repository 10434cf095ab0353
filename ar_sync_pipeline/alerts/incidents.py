"""Decides which messages are due: one opening and one recovery for each cause.

Every function is pure: it takes an incident and returns its new state, with the notices that are
due. `ar_sync_pipeline.alerts.store` saves the result in one transaction.

An incident belongs to a **cause**, such as "the connection to the receiver". **Sources** report
it, such as a step of a job or an asset check. It is over when one of its sources succeeds after
the last failure. An outage is also over when other work with the same thing succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from ar_sync_pipeline.clock import CLOCK_TOLERANCE

BY_HAND = "a person"
REMIND_AFTER = timedelta(hours=24)
WHOLE = ":whole"
"""End of the key of a source that failed in all of its work: a part of it proves nothing."""


class NoticeKind(StrEnum):
    """Reason why a message is sent."""

    OPENED = "opened"
    REMINDER = "reminder"
    RECOVERED = "recovered"


@dataclass(frozen=True)
class Problem:
    """One observed failure.

    Attributes:
        cause: Key of the incident that the failure belongs to.
        source: Key of what failed; its success ends the incident.
        occurrence: Key of this failure within its cause, so that a hook and a sensor that both
            observe it count it once, and a run whose check and step fail, too.
        at: Time of the failure.
        title: Cause in words.
        what: Source in words.
        sentence: Message that says what is wrong.
        remedy: What to do; may be empty if the message says it.
        run_id: Id of the failed run, if any.
        page: Path of the page with details, relative to the URL of the Dagster UI.
        runbook: Address of the runbook page, or its path on this machine.
        is_outage: Whether its cause works again if any other work with it does.
        ends_other_causes: Whether this failure is all that is wrong with its source, so that
            incidents of other causes which only this source reported are over.
        other_causes: Other causes that its source reports at the same time: they are not over.
        muted_by: Cause that this failure is only a consequence of; while it has an open incident
            that was seen within the last hours, this failure is not reported.
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
    is_outage: bool = False
    ends_other_causes: bool = False
    other_causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Success:
    """One observed success.

    Attributes:
        source: Key of what succeeded.
        at: Time of the success.
        proves: Cause that works, since the source needs it: an outage of it is over.
    """

    source: str
    at: datetime
    proves: str | None = None


@dataclass(frozen=True)
class Incident:
    """A cause from its first failure to its recovery.

    Attributes:
        opened_at: Time of the first failure.
        last_seen_at: Time of the last failure, or when a lasting one was last found.
        told_at: Time when the newest opening or reminder fell due.
        count: Number of failures, including the first.
        sources: Failed sources in words, by key.
        latest: Newest failure, or the newest state of a lasting one.
        recovered_at: Time of the recovery; None while the incident is open.
        recovered_by: Source whose success ended the incident.
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
        """Whether the incident is open."""
        return self.recovered_at is None

    @property
    def repeats(self) -> int:
        """Number of failures after the first."""
        return self.count - 1


@dataclass(frozen=True)
class Outcome:
    """An incident after a change, and the notices that the change made due."""

    incident: Incident | None
    due: tuple[NoticeKind, ...] = field(default=())


def corrected(incident: Incident, at: datetime, now: datetime) -> Incident:
    """Return the incident without times of a clock that was ahead and was set back since.

    Args:
        incident: Incident as it is stored.
        at: Time of a finding, or of a request. The wrong times count as just before it, since the
            incident is older than the finding.
        now: Current time.
    """
    limit = now + CLOCK_TOLERANCE
    if at > limit:  # the finding is of the same clock
        return incident
    before = at - timedelta(microseconds=1)

    def right(time: datetime) -> datetime:
        return time if time <= limit else before

    return replace(
        incident,
        opened_at=right(incident.opened_at),
        last_seen_at=right(incident.last_seen_at),
        told_at=incident.told_at if incident.told_at <= limit else now,
        recovered_at=incident.recovered_at and right(incident.recovered_at),
    )


def fail(incident: Incident | None, problem: Problem, now: datetime) -> Outcome:
    """Return the incident after a new failure.

    Args:
        incident: Newest incident of the cause, open or over; None if there is none.
        problem: Failure that was not observed before.
        now: Time from which the next reminder is counted.
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
    return Outcome(replace(_with_failure(incident, problem), count=incident.count + 1))


def repeat(incident: Incident | None, problem: Problem) -> Outcome:
    """Return the incident after a failure that was counted: another source, or its newest state.

    Args:
        incident: Newest incident of the cause, open or over; None if there is none.
        problem: Failure of a known occurrence.
    """
    if incident is None or not incident.is_open:
        return Outcome(incident)
    return Outcome(_with_failure(incident, problem))


def _with_failure(incident: Incident, problem: Problem) -> Incident:
    newer = problem.at >= incident.last_seen_at
    return replace(
        incident,
        opened_at=min(incident.opened_at, problem.at),
        last_seen_at=max(incident.last_seen_at, problem.at),
        sources=incident.sources | {problem.source: problem.what},
        latest=problem if newer else incident.latest,
    )


def succeed(incident: Incident, success: Success) -> Outcome:
    """Return the incident after a success; the success of one of its sources ends it.

    That of other work with its cause does as well if the cause was out for all. Neither does if
    work failed as a whole, such as the load of a complete during which the connection is lost.
    A success before the last failure proves nothing: it was reported late.
    """
    is_proven = incident.latest.is_outage and success.proves == incident.cause
    concerned = success.source in incident.sources or is_proven
    if not (incident.is_open and concerned) or success.at <= incident.last_seen_at:
        return Outcome(incident)
    if any(key.endswith(WHOLE) and key != success.source for key in incident.sources):
        left = {key: what for key, what in incident.sources.items() if key != success.source}
        return Outcome(replace(incident, sources=left))
    over = replace(incident, recovered_at=success.at, recovered_by=success.source)
    return Outcome(over, (NoticeKind.RECOVERED,))


def close(incident: Incident, at: datetime) -> Outcome:
    """Return the incident after an operator closed it."""
    if not incident.is_open:
        return Outcome(incident)
    over = replace(incident, recovered_at=at, recovered_by=BY_HAND)
    return Outcome(over, (NoticeKind.RECOVERED,))


def remind(incident: Incident, now: datetime) -> Outcome:
    """Return the incident, with a reminder if one is due."""
    if not incident.is_open or now - incident.told_at < REMIND_AFTER:
        return Outcome(incident)
    return Outcome(replace(incident, told_at=now), (NoticeKind.REMINDER,))


def _is_old_news(incident: Incident | None, at: datetime) -> bool:
    return incident is not None and incident.recovered_at is not None and at < incident.recovered_at
