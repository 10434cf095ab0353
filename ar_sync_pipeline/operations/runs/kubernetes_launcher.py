"""Run launcher of `dagster.yaml` for runs as Jobs of Kubernetes.

It differs from the launcher of `dagster-k8s` in two points:

- A run is not lost because the API server of the cluster does not answer, or refuses, for some
  minutes. Dagster would retry it at once, beside the Job that still runs.
- A run that took too long has failed, and is retried. Its pod would otherwise report it as
  canceled after its failure was recorded.
"""

from typing import Any

import dagster as dg
from dagster_k8s import K8sRunLauncher

from ar_sync_pipeline.operations.dagster_internals import CheckRunHealthResult, WorkerStatus
from ar_sync_pipeline.operations.runs.own_process import health_of_process
from ar_sync_pipeline.operations.runs.watched_launcher import SilentWorkers, gone, wait_for_end


class WatchedK8sRunLauncher(K8sRunLauncher):
    """Launches runs as Jobs, and retries the question whether a run still exists."""

    def __init__(self, *args: Any, **config: Any) -> None:  # noqa: ANN401  as its base
        super().__init__(*args, **config)
        self._silent = SilentWorkers("the API server of the cluster")

    def terminate(self, run_id: str) -> bool:
        """Delete the Job of a run, and wait up to 20 seconds until its pod has reported the end."""
        is_ending = bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        if is_ending:
            wait_for_end(self._instance, run_id)
        return is_ending

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the Job of a run still exists.

        "Unknown" is the base's answer both for a Job that the cluster does not have and for an
        error of the API server, which says nothing about the Job.
        """
        if (of_process := health_of_process(run)) is not None:
            return of_process
        found: CheckRunHealthResult = super().check_run_worker_health(run)
        text = found.msg or ""
        has_no_job = text.startswith("Job ") and text.endswith("could not be found")
        if found.status is WorkerStatus.UNKNOWN and not has_no_job:
            return self._silent.health(run.run_id)
        self._silent.answered(run.run_id)
        return gone("the cluster no longer has its Job") if has_no_job else found
