"""Run launcher of `dagster.yaml` for runs on Celery workers, each on the host of its folders.

It differs from the launcher of `dagster-celery` in four points:

- A run goes to the queue of its pair and side, also if the UI or a backfill starts it.
- A run that an operator terminates is canceled. Without that it fails, and is retried.
- A run whose worker was killed fails, so that it is retried and its pool has a free slot. Celery
  itself never reports a worker that was killed with its host.
- A run of which the result backend knows nothing, such as after its restart, is not lost at once.
"""

from typing import Any

import dagster as dg
from celery.states import READY_STATES, STARTED
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from ar_sync_pipeline.operations.dagster_internals import (
    CheckRunHealthResult,
    LaunchRunContext,
    WorkerStatus,
)
from ar_sync_pipeline.operations.pair_names import QUEUE_TAG, queue_of
from ar_sync_pipeline.operations.runs.own_process import health_of_process
from ar_sync_pipeline.operations.runs.run_assets import assets_of
from ar_sync_pipeline.operations.runs.watched_launcher import SilentWorkers, gone, wait_for_end

_ANSWER_WITHIN_SECONDS = 5.0


class WatchedCeleryRunLauncher(CeleryRunLauncher):
    """Launches runs as tasks of Celery, and asks the workers whether a run still exists."""

    def __init__(self, **config: Any) -> None:  # noqa: ANN401  as its base
        super().__init__(**config)
        self._silent = SilentWorkers("its Celery worker")

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run on the queue of its tag, or of the assets that it materializes."""
        run = context.dagster_run
        keys = assets_of(run)
        queue = queue_of(min(keys)) if keys else None
        if QUEUE_TAG not in run.tags and queue is not None:
            self._instance.add_run_tags(run.run_id, {QUEUE_TAG: queue})
            context = context._replace(dagster_run=run.with_tags({**run.tags, QUEUE_TAG: queue}))
        super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Cancel a run, and wait up to 20 seconds until its worker has reported the end."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return False
        # Before the signal: from this state its worker concludes that it is not to be retried.
        self._instance.report_run_canceling(run)
        super().terminate(run_id)
        wait_for_end(self._instance, run_id)
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the worker that started a run still has it."""
        if (of_process := health_of_process(run)) is not None:
            return of_process
        result = self.celery.AsyncResult(run.tags[DAGSTER_CELERY_TASK_ID_TAG])
        state, details = result.state, result.info
        if state in READY_STATES:
            self._silent.answered(run.run_id)
            return gone(f"its Celery task has ended as {state}")
        if state != STARTED or not isinstance(details, dict):
            return self._silent.health(run.run_id)
        worker = str(details["hostname"])
        inspected = self.celery.control.inspect(
            destination=[worker], timeout=_ANSWER_WITHIN_SECONDS, limit=1
        )
        answers = inspected.query_task(result.id)
        if not answers:
            return self._silent.health(run.run_id)
        self._silent.answered(run.run_id)
        if result.id in answers.get(worker, {}):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return gone(f"its Celery worker {worker} no longer has it")
