"""Hooks that report a step's failure or success at once, also where no daemon runs the sensors."""

import dagster as dg

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.operations.alerts.alert_scope import AlertScope
from ar_sync_pipeline.operations.alerts.run_findings import failed_steps, successes_of_step
from ar_sync_pipeline.operations.runs.run_retry import will_be_retried
from ar_sync_pipeline.sync.watch.alerting import Alerts

OF_FAILURE, OF_SUCCESS = "tell_of_failure", "tell_of_success"
# A mail server that does not answer must not block a run; the sensor sends what is left.
_SECONDS = 15


def step_hooks(scope: AlertScope, alerts: Alerts) -> set[dg.HookDefinition]:
    """Return the hooks that open and end incidents, and try to send the messages that are due."""

    @dg.failure_hook(name=OF_FAILURE)
    def tell_of_failure(context: dg.HookContext) -> None:
        instance = context.instance
        run = instance.get_run_by_id(context.run_id)
        if run is None or will_be_retried(instance, run):
            return
        try:
            for problem in failed_steps(instance, scope, run):
                alerts.record(problem)
        except ArSyncError as error:
            context.log.warning("This failure is not noted as an incident yet. %s", error)
            return
        _send(context, alerts)

    @dg.success_hook(name=OF_SUCCESS)
    def tell_of_success(context: dg.HookContext) -> None:
        try:
            if not alerts.store.open_incidents():
                return
            run = context.instance.get_run_by_id(context.run_id)
            if run is None:
                return
            for success in successes_of_step(context.instance, scope, run, context.step_key):
                alerts.record(success)
        except ArSyncError as error:
            context.log.warning("This success does not end an incident yet. %s", error)
            return
        _send(context, alerts)

    return {tell_of_failure, tell_of_success}


def _send(context: dg.HookContext, alerts: Alerts) -> None:
    for problem_in_words in alerts.send(seconds=_SECONDS).problems:
        context.log.warning(
            "An alert is not sent yet, the alert sensor tries again. %s", problem_in_words
        )
