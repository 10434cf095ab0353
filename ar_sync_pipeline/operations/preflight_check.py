"""The preflight of a side as an asset check, evaluated after each start of its code location.

A sensor evaluates it without a run. Its first tick in a new process examines everything, as
``ar-sync check`` does. Later ticks repeat a failed preflight within five minutes and a passed one
every hour, or at once where a quick look hints at a change. In between, they only write the finding
again if a later materialization hides it.
A failed one is written each time: it was not mailed while its cause had another incident.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import dagster as dg

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.operations.alerts.problem_areas import (
    DATABASE,
    MEDIA_FOLDER,
    SPOOL,
    area_of_link,
    areas_by_error,
)
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.operations.check_evaluation import (
    ERROR,
    EXAMINED_AT,
    NOT_EXAMINED_SINCE,
    evaluation_of,
    result_of,
    since_name,
    unchanged_since,
)
from ar_sync_pipeline.operations.check_history import (
    delete_replaced,
    last_evaluation,
    newest_target,
    shown_evaluation,
)
from ar_sync_pipeline.operations.check_specs import check_spec, result_for
from ar_sync_pipeline.operations.location_registry import other_locations, same_keys
from ar_sync_pipeline.operations.run_metadata import markdown_table
from ar_sync_pipeline.operations.runs.watched_launcher import queue_findings
from ar_sync_pipeline.postgres.checks.findings import Finding, Level, errors_of
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings
from ar_sync_pipeline.sync.watch.preflight import PREFLIGHT_SECONDS, preflight
from ar_sync_pipeline.sync.watch.preflight_result import Preflight
from ar_sync_pipeline.visible_text import visible

CHECK = "preflight"
INTERVAL_SECONDS = 120
# Less than the 60 s that the daemon waits for a sensor.
_TICK_SECONDS = 45.0
# The tick after this time examines again.
_WITHIN_SECONDS = {True: 3600.0, False: 300.0}
AGAIN_AFTER_SECONDS = {ok: most - INTERVAL_SECONDS for ok, most in _WITHIN_SECONDS.items()}
_MOST_FINDINGS = 50
_ERRORS = "errors_by_area"
# "the clock is 312 s ahead", "4.9 % free": not the numbers in names such as viz2 or app_1.
_NUMBERS = re.compile(r"(?<![\w.-])\d[\d.,:]*")
_PROCESS = uuid4().hex

Examine = Callable[[float], Preflight]
"""Runs the preflight within so many seconds."""

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation
Further = Callable[[dg.DagsterInstance, Preflight], Sequence[Event]]
"""Returns what a preflight also shows of other assets and checks."""


def examination(
    settings: SenderSettings | ReceiverSettings, catalog: Catalog, clock: Clock
) -> Examine:
    """Return the preflight of a side."""
    return lambda seconds: preflight(settings, catalog, clock, within_seconds=seconds)


def preflight_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    """Return the specification of the check, on the asset that users of the side open first."""
    return check_spec(
        CHECK,
        key,
        meaning="Everything that this side needs is there: database, rights, catalog,"
        " folders, mail server, clocks, the other side's settings. Evaluated after"
        " each start of the code location",
        remedy="each finding has its remedy; `ar-sync check` shows the same",
        page="preflight_fails",
    )


def preflight_check(key: dg.AssetKey, examine: Examine, clock: Clock) -> dg.AssetChecksDefinition:
    """Return the check, which can also be executed from the UI."""

    @dg.multi_asset_check(
        name=f"{key.to_python_identifier()}_preflight", specs=[preflight_spec(key)]
    )
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        before = last_evaluation(context.instance, dg.AssetCheckKey(key, CHECK))
        with operator_errors():
            yield _result(key, examine(PREFLIGHT_SECONDS), before, clock())

    return check


def preflight_sensor(
    key: dg.AssetKey,
    examine: Examine,
    *,
    name: str,
    clock: Clock,
    side: str,
    further: Further = lambda *_: (),
    hint: Callable[[], str | None] = str,
) -> dg.SensorDefinition:
    """Return a sensor that evaluates the check in each new process, whether anything runs or not.

    Args:
        key: Asset of the check.
        examine: Runs the preflight.
        name: Name of the sensor.
        clock: Returns the current time.
        side: Value of the tag ``ar_sync/side``.
        further: Returns events of other checks that follow from a new preflight.
        hint: Returns in little time what a preflight may find, or None if it is not known; if it
            differs from the answer at the last examination, the tick examines again.
    """
    process = _Process(key, examine, clock, side, further, clock(), hint)

    @dg.sensor(
        name=name,
        minimum_interval_seconds=INTERVAL_SECONDS,
        description="Examines what this side needs after each start of the code location. Starts"
        f" nothing: it writes the result of the check `{CHECK}`.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def preflight_of_process(
        context: dg.SensorEvaluationContext,
    ) -> dg.SensorResult | dg.SkipReason:
        return process.tick(context)

    return preflight_of_process


@dataclass(frozen=True)
class _Examined:
    """The last examination of this process."""

    at_seconds: float
    result: dg.AssetCheckResult
    news: frozenset[str]
    conflicts: list[Finding]
    hint: str

    @property
    def is_old(self) -> bool:
        age_seconds = time.monotonic() - self.at_seconds
        return age_seconds >= AGAIN_AFTER_SECONDS[bool(self.result.passed)]


@dataclass
class _Process:
    """The preflight of one process; for the other attributes see `preflight_sensor`.

    Attributes:
        began: When the process began.
        last: Its last examination; None before the first tick.
    """

    key: dg.AssetKey
    examine: Examine
    clock: Clock
    side: str
    further: Further
    began: datetime
    hint: Callable[[], str | None] = str
    last: _Examined | None = None

    def tick(self, context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        """Examine again if it is time, and write the finding if it is new or hidden."""
        check, last = dg.AssetCheckKey(self.key, CHECK), self.last
        conflicts = _conflicts(context, self.side, self.began, self.clock())
        evaluation = shown_evaluation(context.instance, check)
        shown = None if evaluation is None else evaluation.passed
        events: list[Event] = []
        hint = self.hint()
        if hint is None:
            hint = last.hint if last is not None else ""
        is_new = context.cursor != _PROCESS or last is None or conflicts != last.conflicts
        # A verdict that differs from the last one here comes from a run that was started by hand.
        by_hand = shown is not None and last is not None and shown != last.result.passed
        if last is None or is_new or last.is_old or hint != last.hint or by_hand:
            before, now = last, self.clock()
            found = self.examine(_TICK_SECONDS)
            events += self.further(context.instance, found)
            notes = queue_findings(context.instance)
            found = replace(found, findings=(*conflicts, *found.findings, *notes))
            recorded = last_evaluation(context.instance, check)
            news = _news(found, recorded)
            result = _with_times(_result(self.key, found, recorded, now), news, before, now)
            self.last = last = _Examined(time.monotonic(), result, news, conflicts, hint)
            is_same = before is not None and before.result.description == result.description
            is_new = is_new or not is_same or not result.passed
        result = last.result
        if not is_new and not events and shown == result.passed:
            return dg.SkipReason(result.description)
        evaluation = evaluation_of(result, target=newest_target(context.instance, self.key))
        since = unchanged_since(evaluation)
        delete_replaced(context.instance, check, lambda old: unchanged_since(old) == since)
        events.append(evaluation)
        return dg.SensorResult(asset_events=events, cursor=_PROCESS)


def _conflicts(
    context: dg.SensorEvaluationContext, side: str, began: datetime, now: datetime
) -> list[Finding]:
    """Return a finding if another code location defines the same keys.

    The context of a test has no location.
    """
    origin = context.code_location_origin
    if origin is None:
        return []
    others = other_locations(context.instance, side, origin.location_name, began, now)
    return [same_keys(side, origin.location_name, others)] if others else []


def keep_preflight_shown(context: dg.AssetExecutionContext, key: dg.AssetKey) -> None:
    """Record the finding again in a run that materializes its asset, which would hide it.

    The sensor also records it again, but only at its next tick.
    """
    shown = shown_preflight(context.instance, key)
    if shown is not None:
        context.log_event(evaluation_of(shown))


def shown_preflight(instance: dg.DagsterInstance, key: dg.AssetKey) -> dg.AssetCheckResult | None:
    """Return the finding that the UI shows now; None if it shows none."""
    shown = shown_evaluation(instance, preflight_spec(key).key)
    return None if shown is None else result_of(shown)


def _with_times(
    result: dg.AssetCheckResult, news: frozenset[str], before: _Examined | None, now: datetime
) -> dg.AssetCheckResult:
    """Return the result with when this process found it, and first found it: it counts once."""
    examined: Any = dg.MetadataValue.timestamp(now)
    since, name = examined, since_name(passed=bool(result.passed))
    if before is not None and before.result.passed == result.passed and news <= before.news:
        since = (before.result.metadata or {}).get(name, since)
    times = {EXAMINED_AT: examined, name: since}
    return result._replace(metadata={**(result.metadata or {}), **times})


def _news(found: Preflight, before: dg.AssetCheckEvaluation | None) -> frozenset[str]:
    """Return what is wrong, without the numbers that each examination measures again."""
    errors = errors_of((*found.findings, *_not_examined_again(before, found)))
    news = {f"{one.area}: {_NUMBERS.sub('', one.problem)}" for one in errors}
    if found.link is not None and found.link.failed is not None:
        news.add(f"{found.link.failed.name}: {found.link.failed.code}")
    return frozenset(news)


def _result(
    key: dg.AssetKey, found: Preflight, before: dg.AssetCheckEvaluation | None, now: datetime
) -> dg.AssetCheckResult:
    """Return the result; errors found before stay in it until their area is examined again."""
    area_metadata = _broken_area(found)
    kept = tuple(_not_examined_again(before, found))
    found = replace(found, findings=(*found.findings, *kept))
    metadata = _metadata(found) | _errors_by_area(found) | area_metadata
    if before is not None and kept:
        since = before.metadata.get(NOT_EXAMINED_SINCE)
        metadata[NOT_EXAMINED_SINCE] = since or dg.MetadataValue.timestamp(now)
    wrong = [str(one) for one in found.findings if one.level is Level.ERROR]
    if found.link is not None and found.link.failed is not None:
        step = found.link.failed
        wrong.insert(0, visible(f"{step.name}: {step.detail}: {step.remedy}."))
    first = wrong[0] if wrong else ""
    more = f" ({len(wrong) - 1} more in the metadata)" if len(wrong) > 1 else ""
    return result_for(
        preflight_spec(key),
        passed=found.ok,
        description=f"{first}{more}" if wrong else _passing(found, now),
        metadata=metadata,
    )


def _passing(found: Preflight, now: datetime) -> str:
    """Return the verdict with its time: it is shown for an hour, and again after each run."""
    verdict = found.verdict[:1].lower() + found.verdict[1:]
    return f"Examined at {now:%Y-%m-%d %H:%M} UTC: {verdict}"


def _errors_by_area(found: Preflight) -> dict[str, Any]:
    """Return metadata for `_not_examined_again`; an area's own error has an incident of its own."""
    errors = [
        [one.area, one.problem, one.remedy, one.table]
        for one in errors_of(found.findings)
        if not (one.unexamined or _error_of(one))
    ]
    return {_ERRORS: dg.MetadataValue.json(errors[:_MOST_FINDINGS])} if errors else {}


def _not_examined_again(
    before: dg.AssetCheckEvaluation | None, found: Preflight
) -> Iterator[Finding]:
    """Yield the errors of an evaluation in areas, or of tables, that were not examined since."""
    stored = before.metadata.get(_ERRORS) if before is not None else None
    errors = stored.data if isinstance(stored, dg.JsonMetadataValue) else []
    again = {(one.area, one.problem) for one in found.findings}
    tables = {(one.area, one.table) for one in found.findings if one.unexamined and one.table}
    for area, problem, remedy, table in errors if isinstance(errors, list) else []:
        is_unexamined = area in found.unexamined or (area, table) in tables
        if is_unexamined and (area, problem) not in again:
            yield Finding(Level.ERROR, problem, remedy, area=area, table=table)


def _broken_area(found: Preflight) -> dict[str, str]:
    """Return metadata with the error of an area, if nothing else is wrong: it has an incident."""
    codes = [_error_of(one) for one in errors_of(found.findings)]
    if found.link is not None and found.link.failed is not None:
        codes.insert(0, area_of_link(found.link.failed.code).errors[0].code)
    return {ERROR: codes[0]} if codes and all(codes) else {}


def _error_of(finding: Finding) -> str:
    """Return the code of the area's error that a finding is about; empty if it is about none."""
    if finding.area == "spool":
        return SPOOL.errors[0].code
    return finding.code if finding.code in areas_by_error((DATABASE, MEDIA_FOLDER)) else ""


def _metadata(found: Preflight) -> dict[str, Any]:
    rows = [
        (str(one.level), one.area, one.problem, one.remedy)
        for one in found.findings[:_MOST_FINDINGS]
    ]
    if found.link is not None:
        rows += [
            (str(step.outcome), f"link, {step.name}", step.detail, step.remedy or "")
            for step in found.link.steps
            if step.remedy is not None
        ]
    return {
        "errors": found.count(Level.ERROR) + bool(found.link and found.link.failed),
        "warnings": found.warnings,
        "seconds": round(found.seconds, 3),
        "findings": markdown_table(("level", "area", "problem", "remedy"), rows),
    }
