"""Checks that can fail while nothing runs: a sensor evaluates them and writes the result.

A tick starts no run. While the finding is the same, its evaluation replaces the previous one. The
UI therefore shows the current state, and the event log does not grow with every minute.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import dagster as dg
from pydantic import BaseModel, Field, ValidationError

from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import ArSyncError, TransientError
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.operations.check_evaluation import (
    ERROR,
    NO_MAIL_BEFORE,
    REMEDY,
    evaluation_of,
    since_name,
    unchanged_since,
)
from ar_sync_pipeline.operations.check_history import (
    delete_overtaken,
    delete_replaced,
    last_evaluation,
    newest_target,
    shown_evaluation,
)
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.operations.repository_id import repository_of_run, repository_of_tick
from ar_sync_pipeline.postgres.session_settings import short_lock_waits

_INTERVAL_SECONDS = 60
# Dagster ends a tick after a minute, without a reason.
_LONGEST_LOCK_WAIT = "5s"
# A short outage of a database changes no verdict; after a long one the last one is worthless.
_UNKNOWN_AFTER = timedelta(minutes=10)
# After a longer pause the daemon was off: the state in between is unknown, and nothing ran. A tick
# that failed, or a busy daemon, is no such pause.
INTERRUPTION = timedelta(minutes=10)
"""Pause between two ticks after which a finding has to settle again."""
_INTERRUPTION_TICKS = 3
# Longer than a usual load, far less than the maximum runtime of a run.
LOAD_MAY_TAKE = timedelta(hours=2)
"""Time for which neither side mails that data is late while a load is at work."""


@dataclass(frozen=True)
class Evaluation:
    """The result of one evaluation.

    Attributes:
        result: Result with asset key, name and message.
        news: What the finding consists of. A part that it did not have before makes it a new
            finding; fewer parts, and whatever else its message says, do not.
        mail_from: A failure is not mailed before this time; the UI shows it at once.
        settles: Time after the first of uninterrupted evaluations in which a failure is not mailed
            either, because work that was off together with the sensor may need it to catch up.
    """

    result: dg.AssetCheckResult
    news: frozenset[str] = frozenset()
    mail_from: datetime | None = None
    settles: timedelta = timedelta(0)

    def with_times(self, watching_since: datetime, since: datetime | None) -> dg.AssetCheckResult:
        """Return the result, with when it was first found and when it is to be mailed.

        Args:
            watching_since: Time of the first of uninterrupted evaluations.
            since: Time when it was first found; None if unknown.
        """
        name = since_name(passed=self.result.passed)
        times = {} if since is None else {name: dg.MetadataValue.timestamp(since)}
        if not self.result.passed and (self.settles or self.mail_from):
            certain_at = watching_since + self.settles
            due = max(certain_at, self.mail_from) if self.mail_from else certain_at
            times[NO_MAIL_BEFORE] = dg.MetadataValue.timestamp(due)
        return self.result._replace(metadata={**(self.result.metadata or {}), **times})


# They get the instance, and the id of the code location's repository if there is one.
Evaluate = Callable[[dg.DagsterInstance, str | None], Evaluation]
EvaluateAll = Callable[[dg.DagsterInstance, str | None], Sequence[Evaluation]]
Recall = Callable[[dg.AssetCheckEvaluation, ArSyncError], dg.AssetCheckResult | None]
"""Returns what is still known of a check from its last evaluation and the error that prevents one.

It passes only if the last one did; None: nothing is known.
"""


def doublings(what: str, size: float) -> frozenset[str]:
    """Return the parts of a finding of some size: one for each doubling, so that growth is news."""
    return frozenset(f"{what} {2**n}" for n in range(math.floor(math.log2(max(1.0, size))) + 1))


class _Finding(BaseModel):
    news: frozenset[str]
    since: datetime


class _Memory(BaseModel):
    """The cursor of a sensor.

    Attributes:
        watching_since: Time of the first of uninterrupted ticks.
        ticked_at: Time of the last tick.
        seen_at: Time of the last tick with a successful evaluation.
        findings: Last finding of each check, and when it was first found.
    """

    watching_since: datetime
    ticked_at: datetime
    seen_at: datetime
    findings: dict[str, _Finding] = Field(default_factory=dict)

    @classmethod
    def at(cls, now: datetime, cursor: str | None, interruption: timedelta) -> "_Memory":
        """Return the state at a tick, from the cursor; a longer pause is an interruption."""
        try:
            memory = cls.model_validate_json(cursor or "")
        except ValidationError:  # none yet, or that of another version
            return cls(watching_since=now, ticked_at=now, seen_at=now)
        # Also if the clock was set back since: nobody knows how long ago the last tick was.
        if abs(now - memory.ticked_at) > interruption:
            memory.watching_since = memory.seen_at = now
        memory.ticked_at = now
        return memory

    def since(self, name: str, found: Evaluation) -> datetime:
        """Return when this finding was first made."""
        news, before = found.news | {str(found.result.passed)}, self.findings.get(name)
        is_known = before is not None and news <= before.news
        since = before.since if before and is_known else self.ticked_at
        self.findings[name] = _Finding(news=news, since=since)
        return since


def standing_check(
    spec: dg.AssetCheckSpec, evaluate: Evaluate, clock: Clock, names: PairNames
) -> dg.AssetChecksDefinition:
    """Return the check, which can also be executed from the UI."""

    @dg.multi_asset_check(name=names.name(f"{spec.name}_check"), specs=[spec])
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        with operator_errors():
            found = evaluate(context.instance, repository_of_run(context.run))
        delete_overtaken(context.instance, spec.key, context.run.run_id)
        yield found.with_times(clock(), None)

    return check


def standing_check_sensor(  # noqa: PLR0913  named, most with a default
    specs: Sequence[dg.AssetCheckSpec],
    evaluate: EvaluateAll,
    clock: Clock,
    *,
    name: str,
    description: str,
    interval_seconds: int = _INTERVAL_SECONDS,
    interruption: timedelta = INTERRUPTION,
    recall: Recall = lambda *_: None,
) -> dg.SensorDefinition:
    """Return a sensor that evaluates checks whether anything runs or not.

    Args:
        specs: Specifications of the checks.
        evaluate: Returns one finding for each specification, in their order; none while work is
            under way that keeps it from finding out, however long.
        clock: Returns the current time.
        name: Name of the sensor.
        description: Beginning of its description.
        interval_seconds: Seconds between two ticks.
        interruption: A longer pause between ticks is an interruption, if it is at least three ticks
            long. It is not longer than a pause after which a check may fail.
        recall: Returns what is shown of a check while it cannot be evaluated.
    """
    longest_pause = max(interruption, _INTERRUPTION_TICKS * timedelta(seconds=interval_seconds))
    names = " and ".join(f"`{spec.name}`" for spec in specs)

    @dg.sensor(
        name=name,
        minimum_interval_seconds=interval_seconds,
        description=f"{description} Starts nothing: it writes the result of {names}.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def standing(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        memory = _Memory.at(clock(), context.cursor, longest_pause)
        here = repository_of_tick(context)
        try:
            with short_lock_waits(_LONGEST_LOCK_WAIT):
                found = [*evaluate(context.instance, here)]
            memory.seen_at = memory.ticked_at
            said = _in_words(found)
        except ArSyncError as error:
            found = [*_without_answer(context.instance, specs, error, recall, memory)]
            said = f"The checks could not be evaluated. {error}"
        # There is one for each, or none.
        events = [
            event
            for spec, one in zip(specs, found, strict=False)
            for event in _evaluations(context.instance, spec, one, memory)
        ]
        if not events:
            context.update_cursor(memory.model_dump_json())
            return dg.SkipReason(said)
        return dg.SensorResult(asset_events=events, cursor=memory.model_dump_json())

    return standing


def _in_words(found: Sequence[Evaluation]) -> str:
    """Return the message of a tick that writes nothing."""
    said = " ".join(one.result.description or "All is well." for one in found)
    return said or "The checks are not evaluated while work is under way."


def _without_answer(
    instance: dg.DagsterInstance,
    specs: Sequence[dg.AssetCheckSpec],
    error: ArSyncError,
    recall: Recall,
    memory: _Memory,
) -> Iterator[Evaluation]:
    """Yield what is known of the checks while an error keeps them from being evaluated.

    For a while a transient error changes no verdict: a check that has failed stays as it is, and
    one that passed fails only if the time since then is the reason, which is mailed if it lasts.
    """
    certain_at = memory.seen_at + _UNKNOWN_AFTER
    is_brief = isinstance(error, TransientError) and memory.ticked_at <= certain_at
    for spec in specs:
        last = last_evaluation(instance, spec.key)
        known = recall(last, error) if last else None
        if not is_brief:
            yield _cannot_tell(spec, error, known)
        elif known is None or last is None or not (last.passed or _is_by(last, error)):
            return
        elif known.passed:
            yield Evaluation(known)
        else:
            yield replace(_cannot_tell(spec, error, known), mail_from=certain_at)


def _is_by(failed: dg.AssetCheckEvaluation, error: ArSyncError) -> bool:
    """Return whether a check failed because such an error kept it from being evaluated."""
    code = failed.metadata.get(ERROR)
    return code is not None and code.value == error.code


def _evaluations(
    instance: dg.DagsterInstance, spec: dg.AssetCheckSpec, found: Evaluation, memory: _Memory
) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield the evaluation to write; none if the UI already shows the same success.

    Two successes are the same if their messages are equal.
    """
    since = memory.since(spec.name, found)
    delete_replaced(instance, spec.key, lambda old: unchanged_since(old) == since)
    shown, result = shown_evaluation(instance, spec.key), found.result
    says_so = shown is not None and shown.passed and shown.description == result.description
    if not (says_so and result.passed):
        yield evaluation_of(
            found.with_times(memory.watching_since, since),
            blocking=spec.blocking,
            target=newest_target(instance, spec.asset_key),
        )


def _cannot_tell(
    spec: dg.AssetCheckSpec, error: ArSyncError, known: dg.AssetCheckResult | None
) -> Evaluation:
    described = known or dg.AssetCheckResult(passed=False, description=str(error))
    result = dg.AssetCheckResult(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=False,
        description=described.description,
        metadata={**(described.metadata or {}), ERROR: error.code, REMEDY: error.remedy},
    )
    return Evaluation(result, frozenset({error.code}))
