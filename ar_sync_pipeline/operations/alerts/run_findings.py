"""Findings of one run: failed steps with reasons, successful steps, and interrupted steps."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg

from ar_sync_pipeline.alerts.incidents import WHOLE, Problem, Success
from ar_sync_pipeline.clock import from_epoch
from ar_sync_pipeline.operations.alerts.alert_scope import AlertScope, is_by_hand
from ar_sync_pipeline.operations.alerts.check_findings import (
    check_problems,
    check_source,
)
from ar_sync_pipeline.operations.alerts.event_messages import EventMessage, of_step_failure
from ar_sync_pipeline.operations.check_evaluation import check_label
from ar_sync_pipeline.operations.dagster_internals import (
    TOO_LONG_MESSAGE,
    DagsterAssetCheckFailedError,
    ErrorSource,
)

INTERRUPTED_PAGE = "run_stuck_or_killed"
_TYPES = {
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_RESTARTED,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_UP_FOR_RETRY,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.RUN_CANCELING,
    dg.DagsterEventType.RUN_START,
}
_RUNNING = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_RESTARTED}
# Without failures: where an interruption is reported, they are those of interrupted steps.
_OVER = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_UP_FOR_RETRY}
_CANCELING = dg.DagsterEventType.RUN_CANCELING
_INTERRUPTED = (
    "look at the run's log, and whether the daemon or the machine was restarted or ran out of"
    " memory; the next run does the work again, and that of a dump continues its upload"
)
# It is told of all runs, and a transform or a check has a limit that progress does not move.
_TOO_LONG = (
    "look at the last lines of the run's log, and at the disk, database or host that it waited for:"
    " in a dump or load, work that makes progress is not ended; the next run does the work again,"
    " and that of a dump continues its upload"
)
# Only a run by hand that succeeds would end the incident, and nobody may need one.
_NEVER_STARTED_BY_HAND = (
    "look at the run's log, and whether the daemon or the code server was down; start it again, or"
    " close this incident with `ar-sync incidents --close NUMBER`"
)


def failed_steps(
    instance: dg.DagsterInstance, scope: AlertScope, run: dg.DagsterRun
) -> list[Problem]:
    """Return why steps of a run have failed so far."""
    events = instance.all_logs(run.run_id, of_type=_TYPES)
    return list(_step_problems(scope, run, _failures(events), events))


def successes_of_step(
    instance: dg.DagsterInstance, scope: AlertScope, run: dg.DagsterRun, step: str
) -> list[Success]:
    """Return the success of a step that has just ended, and of the checks that it has passed."""
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    now = datetime.now(UTC)
    passed = (
        entry.get_dagster_event().asset_check_evaluation_data
        for entry in entries
        if entry.step_key == step
    )
    checks = (Success(check_source(one.asset_check_key), now) for one in passed if one.passed)
    return [*_step_successes(scope, run, step, now), *checks]


def run_findings(
    instance: dg.DagsterInstance, scope: AlertScope, run: dg.DagsterRun, end: dg.EventLogEntry
) -> list[Problem | Success]:
    """Return all findings of a finished run.

    Args:
        instance: Dagster instance.
        scope: Definitions of the side.
        run: The run.
        end: Event that ended it. A run that was canceled by hand is not a failure.
    """
    events = instance.all_logs(run.run_id, of_type=_TYPES)
    failures = _failures(events)
    at = from_epoch(end.timestamp)
    findings: list[Problem | Success] = [
        success
        for event in events
        if event.dagster_event_type is dg.DagsterEventType.STEP_SUCCESS
        and event.step_key
        and scope.has_step(run, event.step_key)
        for success in _step_successes(scope, run, event.step_key, from_epoch(event.timestamp))
    ]
    if run.status is dg.DagsterRunStatus.SUCCESS:
        findings.append(Success(run_source(run), at))
    elif not failures and _was_interrupted(run, events):
        overrun = _overrun(events)
        reason = overrun or _reason(instance, run, end)
        remedy = _TOO_LONG if overrun else _INTERRUPTED
        findings += _interrupted(scope, run, events, reason, remedy, at)
    return [*findings, *_step_problems(scope, run, failures, events)]


def _step_problems(
    scope: AlertScope,
    run: dg.DagsterRun,
    failures: Sequence[dg.EventLogEntry],
    events: Sequence[dg.EventLogEntry],
) -> Iterator[Problem]:
    for event in failures:
        step = event.step_key or ""
        if not scope.has_step(run, step):
            continue
        data = event.get_dagster_event().step_failure_data
        message = of_step_failure(data)
        explaining = list(_explaining_checks(scope, events, message))
        if explaining:
            # One cause, so one incident: that of the check.
            yield from _check_problems(scope, run, explaining)
            continue
        area = scope.areas.get(message.error)
        what = f"{run_name(run)}, step {_step_name(step)}"
        yield Problem(
            cause=area.cause if area else step_source(step),
            source=_own_source(scope, run, step),
            occurrence=run.run_id,
            at=from_epoch(event.timestamp),
            title=area.title if area else what,
            what=what,
            sentence=message.problem,
            remedy=message.remedy,
            run_id=run.run_id,
            page=f"runs/{run.run_id}",
            runbook=scope.page(area.page_of(message.error)) if area else "",
            is_outage=area is not None
            and (message.is_of_connection or area.is_outage(message.error)),
        )


def _failures(events: Sequence[dg.EventLogEntry]) -> list[dg.EventLogEntry]:
    """Return the failures of steps by an error of their own.

    Dagster records an interrupted step as failed, too: a user canceled the run, it took too long,
    or its process got a signal. Whatever a step of a run raises that is being canceled is a
    consequence of that.
    """
    found: list[dg.EventLogEntry] = []
    for event in events:
        if event.dagster_event_type is _CANCELING:
            break
        if event.dagster_event_type is dg.DagsterEventType.STEP_FAILURE and event.step_key:
            data = event.get_dagster_event().step_failure_data
            if data.error_source is not ErrorSource.INTERRUPT:
                found.append(event)
    return found


def _explaining_checks(
    scope: AlertScope, events: Sequence[dg.EventLogEntry], message: EventMessage
) -> Iterator[dg.EventLogEntry]:
    """Yield evaluations of failed checks that a step failure only repeats."""
    is_blocked = message.error == DagsterAssetCheckFailedError.__name__
    for event in events:
        if event.dagster_event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            continue
        evaluation = event.get_dagster_event().asset_check_evaluation_data
        if evaluation.passed or evaluation.asset_check_key not in scope.checks:
            continue
        blocking = is_blocked and evaluation.severity is dg.AssetCheckSeverity.ERROR
        if blocking or check_label(evaluation.asset_check_key) in message.explained_by:
            yield event


def _check_problems(
    scope: AlertScope, run: dg.DagsterRun, events: Sequence[dg.EventLogEntry]
) -> Iterator[Problem]:
    for event in events:
        evaluation = event.get_dagster_event().asset_check_evaluation_data
        at = from_epoch(event.timestamp)
        yield from check_problems(
            scope, evaluation, at=at, run_id=run.run_id, occurrence=run.run_id
        )


def _was_interrupted(run: dg.DagsterRun, events: Sequence[dg.EventLogEntry]) -> bool:
    """Return whether a run was interrupted.

    A run that the monitor canceled because it took too long was not canceled by hand.
    """
    return run.status is dg.DagsterRunStatus.FAILURE or bool(_overrun(events))


def _overrun(events: Sequence[dg.EventLogEntry]) -> str:
    """Return the message with which the monitor canceled a run that took too long; empty if not."""
    said = (event.message for event in events if event.dagster_event_type is _CANCELING)
    return next((message for message in said if TOO_LONG_MESSAGE in message), "")


def _reason(instance: dg.DagsterInstance, run: dg.DagsterRun, end: dg.EventLogEntry) -> str:
    """Return why Dagster ended a run: the error for which its process could not load, if any."""
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    for entry in reversed(entries):
        error = entry.get_dagster_event().engine_event_data.error
        # Only errors of settings and the like are without a traceback.
        if error is not None and not error.stack:
            return " ".join(error.message.split())
    return end.message


def _interrupted(
    scope: AlertScope,
    run: dg.DagsterRun,
    events: Sequence[dg.EventLogEntry],
    message: str,
    remedy: str,
    at: datetime,
) -> Iterator[Problem]:
    """Yield the problem of a killed worker, or of a run that never started: no step reports it.

    A step of another side that was at work in a run by hand is the other side's problem.
    """
    running: dict[str, bool] = {}
    for event in events:
        if event.step_key and event.dagster_event_type in _RUNNING | _OVER:
            running[event.step_key] = event.dagster_event_type in _RUNNING
    at_work = [key for key, runs in running.items() if runs]
    step = next((key for key in at_work if scope.has_step(run, key)), None)
    if at_work and step is None:
        return
    what = f"{run_name(run)}, step {_step_name(step)}" if step else run_name(run)
    has_begun = any(one.dagster_event_type is dg.DagsterEventType.RUN_START for one in events)
    ended = "was cut short" if running or has_begun else "never started"
    reason = message.strip().rstrip(".") if message else ""
    yield Problem(
        cause=step_source(step) if step else run_source(run),
        source=_own_source(scope, run, step) if step else run_source(run),
        occurrence=run.run_id,
        at=at,
        title=what,
        what=what,
        sentence=f"the run {ended}" + (f" ({reason})" if reason else ""),
        remedy=_NEVER_STARTED_BY_HAND if step is None and is_by_hand(run) else remedy,
        run_id=run.run_id,
        page=f"runs/{run.run_id}",
        runbook=scope.page(INTERRUPTED_PAGE),
    )


def run_name(run: dg.DagsterRun) -> str:
    """Return the display name of a run's job."""
    return "a run started by hand" if is_by_hand(run) else f"job {run.job_name}"


def run_source(run: dg.DagsterRun) -> str:
    """Return a run as the source of a problem that none of its steps reports."""
    return f"job:{run.job_name}"


def _step_successes(
    scope: AlertScope, run: dg.DagsterRun, step: str, at: datetime
) -> Iterator[Success]:
    """Yield the success of a step; that of a part proves the whole if nothing else waits."""
    yield Success(step_source(step), at, scope.proofs.get(step))
    if step in scope.shared.names:
        part, whole = _shared_sources(step)
        yield Success(part, at)
        if not scope.shared.does_part(run) or not scope.shared.rest_waits():
            yield Success(whole, at)


def step_source(step: str) -> str:
    """Return a step as the cause and source of its failures."""
    return f"step:{step}"


def _own_source(scope: AlertScope, run: dg.DagsterRun, step: str) -> str:
    """Return a step as the source of a failure of its own, which may be in what it had to do."""
    if step not in scope.shared.names:
        return step_source(step)
    part, whole = _shared_sources(step)
    return part if scope.shared.does_part(run) else whole


def _shared_sources(step: str) -> tuple[str, str]:
    return f"{step_source(step)}:part", f"{step_source(step)}{WHOLE}"


def _step_name(step: str) -> str:
    """Return the name of a step's asset."""
    return step.replace("__", "/")
