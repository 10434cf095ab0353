"""Findings of the newest ticks of a side's schedules and sensors."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import dagster as dg

from ar_sync_pipeline.alerts.incidents import Problem, Success
from ar_sync_pipeline.clock import CLOCK_TOLERANCE, from_epoch
from ar_sync_pipeline.errors import known_code
from ar_sync_pipeline.operations.alerts.alert_scope import AlertScope
from ar_sync_pipeline.operations.alerts.event_messages import of_error
from ar_sync_pipeline.operations.dagster_internals import (
    UNREACHABLE_MESSAGE,
    DagsterCodeLocationLoadError,
    DagsterUserCodeUnreachableError,
    InstigatorState,
    InstigatorTick,
    InstigatorType,
    TickStatus,
)

_FINISHED = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]
# A restart of Dagster's storage, or a lock of SQLite: ticks of several sensors fail at once, and
# the next ones work. The databases of the pair have errors of their own.
_OF_STORAGE = {"OperationalError", "InterfaceError"}
_UNREACHABLE = DagsterUserCodeUnreachableError.__name__
_LOOK_BACK = 3
_REMEDY = (
    "read the error of the tick in Dagster (Automation) and remove its cause; the next tick tries"
    " again by itself, and what it missed is caught up"
)
# Dagster does not repeat a failed tick, and that of a day is a day away.
_REMEDY_OF_SCHEDULE = (
    "read the error of the tick in Dagster (Automation) and remove its cause; the next tick tries"
    " again by itself: if it is hours away, launch the job by hand"
)


def tick_findings(
    instance: dg.DagsterInstance,
    scope: AlertScope,
    now: datetime,
    repository_id: str | None,
) -> Iterator[Problem | Success]:
    """Yield a finding from the newest finished tick of each schedule and sensor.

    A failed tick before it is not reported, nor one that did not reach the code server: the caller
    runs there, so the server is back. A sensor's tick that failed by Dagster's storage, or that the
    code server did not answer in time, is reported only if one of the two before it failed, too.

    Args:
        instance: Dagster instance.
        scope: Definitions of the side.
        now: Current time; later ticks were written by a clock that was ahead.
        repository_id: Repository of the code location; None: the ticks of all pairs are read.
    """
    for state in instance.all_instigator_state(repository_selector_id=repository_id):
        if state.instigator_name not in scope.instigators:
            continue
        ticks = instance.get_ticks(
            state.instigator_origin_id,
            state.selector_id,
            before=(now + CLOCK_TOLERANCE).timestamp(),
            limit=_LOOK_BACK,
            statuses=_FINISHED,
        )
        for tick in ticks[:1]:
            if not _found_no_server(tick) and not _may_pass(state, tick, ticks[1:]):
                yield _finding(scope, state, tick)


def _may_pass(
    state: InstigatorState, tick: InstigatorTick, before: Sequence[InstigatorTick]
) -> bool:
    """Return whether a sensor's tick failed by Dagster's parts, and those before it worked.

    A busy host, or a restart in the middle of a tick, may let one take too long. A sensor whose
    first tick takes too long has never worked.
    """
    if state.instigator_type is InstigatorType.SCHEDULE or tick.error is None:
        return False
    error = of_error(tick.error).error
    is_brief = error in _OF_STORAGE or (error == _UNREACHABLE and bool(before))
    return is_brief and all(one.status is not TickStatus.FAILURE for one in before)


def _found_no_server(tick: InstigatorTick) -> bool:
    """Return whether a tick failed because its code server was down, such as during an upgrade.

    The daemon may know already that the code location cannot be loaded; it can now. A tick that
    took too long has the class of one that reached no server, and another message.
    """
    error = tick.error
    while error is not None:
        if error.cls_name == DagsterCodeLocationLoadError.__name__:
            return True
        if error.cls_name == _UNREACHABLE and UNREACHABLE_MESSAGE in error.message:
            return True
        error = error.cause
    return False


def _finding(scope: AlertScope, state: InstigatorState, tick: InstigatorTick) -> Problem | Success:
    name = f"{state.instigator_type.value.lower()} {state.instigator_name}"
    source = f"tick:{state.instigator_name}"
    at = from_epoch(tick.timestamp)
    if tick.status is not TickStatus.FAILURE:
        return Success(source, at)
    message = of_error(tick.error) if tick.error else None
    is_schedule = state.instigator_type is InstigatorType.SCHEDULE
    # Dagster stores only the class of a tick's error.
    code = known_code(message.error) if message else None
    area = scope.areas.get(code) if code else None
    return Problem(
        cause=area.cause if area else source,
        source=source,
        occurrence=f"tick {tick.tick_id}",
        at=at,
        title=area.title if area else name,
        what=name,
        sentence=message.problem if message else "the tick failed without a reason",
        remedy=_REMEDY_OF_SCHEDULE if is_schedule else _REMEDY,
        page="automation",
        runbook=scope.page(area.page_of(code)) if area else "",
    )
