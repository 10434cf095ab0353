"""The hook that reports a failed step at once, before its run ends."""

import dagster as dg

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.operations.alerts.alert_scope import AlertScope
from ar_sync_pipeline.operations.alerts.run_findings import failed_steps
from ar_sync_pipeline.operations.runs.run_retry import will_be_retried
from ar_sync_pipeline.sync.watch.alerting import Alerts

NAME = "tell_of_failure"
# A mail server that does not answer must not block a run; the sensor sends what is left.
_SECONDS = 15


def failure_hook(scope: AlertScope, alerts: Alerts) -> dg.HookDefinition:
    """Return a hook that records a failure as an incident and tries to send due messages."""

    @dg.failure_hook(name=NAME)
    def tell_of_failure(context: dg.HookContext) -> None:
        instance = context.instance
        run = instance.get_run_by_id(context.run_id)
        if run is None or will_be_retried(instance, run):
            return
        try:
            for problem in failed_steps(instance, scope, run):
                alerts.note(problem)
        except ArSyncError as error:
            context.log.warning("This failure is not noted as an incident yet. %s", error)
            return
        for problem_in_words in alerts.send(seconds=_SECONDS).problems:
            context.log.warning(
                "An alert is not sent yet, the alert sensor tries again. %s", problem_in_words
            )

    return tell_of_failure
