"""The alert sensor: it finds what failure hooks cannot, and sends messages that are still due."""

from datetime import timedelta

import dagster as dg
from pydantic import BaseModel, Field, ValidationError

from ar_sync_pipeline.alerts.incidents import Problem, Success
from ar_sync_pipeline.operations.alerts.alert_scope import AlertScope
from ar_sync_pipeline.operations.alerts.check_findings import EvaluationsSeen, check_findings
from ar_sync_pipeline.operations.alerts.finished_runs import RunsSeen, finished_runs
from ar_sync_pipeline.operations.alerts.run_findings import run_findings
from ar_sync_pipeline.operations.alerts.tick_findings import tick_findings
from ar_sync_pipeline.operations.alerts.waiting_runs import waiting_runs
from ar_sync_pipeline.operations.check_history import forget_planned
from ar_sync_pipeline.operations.repository_id import repository_of_tick
from ar_sync_pipeline.sync.watch.alerting import Alerts
from ar_sync_pipeline.visible_text import counted

# A failed step is reported at once, by a hook in its run.
_INTERVAL_SECONDS = 60
# A tick may take 60 seconds; each part has a share of them.
_SECONDS_TO_SEND = 20
_FIRST_PERIOD = timedelta(hours=1)


class _Seen(BaseModel):
    """The sensor's cursor. If it is lost, nothing is repeated: the store has all findings."""

    runs: RunsSeen = Field(default_factory=RunsSeen)
    checks: dict[str, float] = Field(default_factory=dict)
    check_ids: dict[str, int] = Field(default_factory=dict)


def alert_sensor(scope: AlertScope, alerts: Alerts) -> dg.SensorDefinition:
    """Return a sensor that records what ended or was evaluated, and sends messages that are due."""

    @dg.sensor(
        name=f"{scope.side}_alerts",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        description="Keeps incidents: failed, killed and never started runs, failed ticks of"
        " schedules and sensors, failed asset checks; one message when one opens, a reminder a"
        " day, one message when it is over. Starts nothing. If it fails: read the tick's error;"
        " nothing is lost meanwhile.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def check_incidents(
        context: dg.SensorEvaluationContext,
    ) -> dg.SkipReason:
        seen = _read(context.cursor)
        findings, now_seen = _new_findings(context, scope, alerts, seen)
        for finding in sorted(findings, key=lambda finding: finding.at):
            alerts.record(finding)
        alerts.store.remind(alerts.clock())
        context.update_cursor(now_seen.model_dump_json())
        delivery = alerts.send(seconds=_SECONDS_TO_SEND)
        for problem in delivery.problems:
            context.log.warning("An alert is not sent yet. %s", problem)
        return dg.SkipReason(_in_words(alerts, delivery.sent))

    return check_incidents


def _read(cursor: str | None) -> _Seen:
    try:
        return _Seen.model_validate_json(cursor or "{}")
    except ValidationError:  # of another version
        return _Seen()


def _new_findings(
    context: dg.SensorEvaluationContext, scope: AlertScope, alerts: Alerts, seen: _Seen
) -> tuple[list[Problem | Success], _Seen]:
    instance, now = context.instance, alerts.clock()
    runs, runs_seen = finished_runs(instance, scope, seen.runs, now - _FIRST_PERIOD, now)
    findings: list[Problem | Success] = []
    for run, end in runs:
        if not run.is_success:
            # Only the sensor can do it for a run that was killed, or canceled in the queue.
            forget_planned(instance, run.run_id)
        findings += run_findings(instance, scope, run, end)
    of_checks, checks_seen = check_findings(
        instance, scope, EvaluationsSeen(at=seen.checks, ids=seen.check_ids)
    )
    findings += of_checks
    findings += tick_findings(instance, scope, now, repository_of_tick(context))
    findings += waiting_runs(instance, scope, now)
    return findings, _Seen(runs=runs_seen, checks=checks_seen.at, check_ids=checks_seen.ids)


def _in_words(alerts: Alerts, sent: int) -> str:
    still_open = counted(len(alerts.store.open_incidents()), "incident is", "incidents are")
    unsent = counted(len(alerts.outbox.unsent()), "waits", "wait")
    return f"{still_open} open; {counted(sent, 'message')} sent now, {unsent}."
