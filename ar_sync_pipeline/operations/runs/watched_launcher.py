"""Run launcher of `dagster.yaml`: Dagster's own, which also detects that a worker is gone.

A code server reports at once that one of its workers was killed. If the server goes down with its
workers (a reboot, a power failure), nothing reports it, and Dagster's own launcher cannot check.
Such a run would count as started until its maximum runtime, and block all others of its pool. Run
monitoring asks this launcher instead.

A code server that is to end waits for its runs, answers and starts no other. Dagster's own launcher
would fail those; this one leaves them in the queue.
"""

import time
from typing import Any, Self

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import (
    SHUTTING_DOWN_MESSAGE,
    CanCancelExecutionRequest,
    CanCancelExecutionResult,
    CheckRunHealthResult,
    ConfigurableClassData,
    DagsterGrpcClient,
    DagsterLaunchFailedError,
    DagsterUserCodeUnreachableError,
    LaunchRunContext,
    WorkerStatus,
)
from ar_sync_pipeline.operations.runs.own_process import health_of_process
from ar_sync_pipeline.postgres.checks.findings import Finding, Level

_ANSWER_WITHIN_SECONDS = 10
_ENDS_WITHIN_SECONDS = 20
_POLL_SECONDS = 0.5
# Longer than a reboot or a short network outage.
SILENT_SECONDS = 600
# TimeoutStopSec of the code servers.
_DRAIN_SECONDS = 900


def queue_findings(instance: dg.DagsterInstance) -> list[Finding]:
    """Return a note if the queue gives a run up before a code server has ended its last one.

    An upgrade leaves `dagster.yaml` as it is. Other launchers start runs elsewhere, and do not wait
    for a code server that ends.
    """
    queue = instance.get_concurrency_config().run_queue_config
    if queue is None or not isinstance(instance.run_launcher, WatchedRunLauncher):
        return []
    waits = queue.max_user_code_failure_retries * queue.user_code_failure_retry_delay
    if waits >= _DRAIN_SECONDS:
        return []
    return [
        Finding(
            Level.NOTE,
            f"a run that is to start while its code server is restarted fails after {waits} s in"
            f" the queue, and the server may wait {_DRAIN_SECONDS} s for its last run",
            "set max_user_code_failure_retries: 40 and user_code_failure_retry_delay: 30 below"
            " run_queue in dagster.yaml, and restart the daemon",
            area="dagster",
        )
    ]


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Launches runs on code servers, and asks the servers whether a run still exists."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data=inst_data)
        self._silent = SilentWorkers("its code server")

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> Self:  # noqa: ANN401  as its base
        """Make the launcher; Dagster calls this. There is nothing to configure."""
        del config_value
        return cls(inst_data=inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run.

        Raises:
            DagsterUserCodeUnreachableError: The code server is to end and waits for its runs. The
                queue keeps the run, as if the server were already down.
        """
        try:
            super().launch_run(context)
        except DagsterLaunchFailedError as error:
            if SHUTTING_DOWN_MESSAGE not in str(error):
                raise
            raise DagsterUserCodeUnreachableError(str(error)) from error

    def terminate(self, run_id: str) -> bool:
        """Terminate a run, and wait up to 20 seconds until its worker has reported the end.

        Run monitoring records the failure of a run that took too long when this returns. A worker
        that reports itself canceled after that would undo the failure, and with it the retry.
        """
        is_ending: bool = super().terminate(run_id)  # type: ignore[no-untyped-call]
        if is_ending:
            wait_for_end(self._instance, run_id)
        return is_ending

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return True; Dagster's own launcher cannot check the health of a worker."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the code server that started a run still has it.

        A server that does not answer over the network may be disconnected while its run continues.
        After ten minutes its run counts as gone, so that its pool has a free slot and the run is
        retried. A run that still exists ends itself as soon as it sees that (`WatchedExecutor`). A
        server on a local socket never returns at the same socket.
        """
        if (of_process := health_of_process(run)) is not None:
            return of_process
        client: DagsterGrpcClient | None = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "no code server is known")
        try:
            here = _has_run(client, run.run_id)
        except DagsterUserCodeUnreachableError:
            if client.socket is not None:
                return gone("its code server is gone")
            return self._silent.health(run.run_id)
        self._silent.answered(run.run_id)
        if here:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return gone("its code server was restarted")


class SilentWorkers:
    """Since when the place of each run does not answer, and what that says about the run.

    Args:
        place: What does not answer, for messages, such as "its code server".
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._since: dict[str, float] = {}

    def answered(self, run_id: str) -> None:
        """Record that the place of a run answers."""
        self._since.pop(run_id, None)

    def health(self, run_id: str) -> CheckRunHealthResult:
        """Return the health of a run whose place does not answer: gone after ten minutes."""
        now = time.monotonic()
        if now - self._since.setdefault(run_id, now) < SILENT_SECONDS:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"{self._place} does not answer")
        del self._since[run_id]
        return gone(f"{self._place} has not answered for {SILENT_SECONDS // 60} minutes")


def wait_for_end(instance: dg.DagsterInstance, run_id: str) -> None:
    """Wait up to 20 seconds until the worker of a run has reported its end."""
    deadline = time.monotonic() + _ENDS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            break
        time.sleep(_POLL_SECONDS)


def _has_run(client: DagsterGrpcClient, run_id: str) -> bool:
    request = CanCancelExecutionRequest(run_id=run_id)
    answer = client.can_cancel_execution(request, timeout=_ANSWER_WITHIN_SECONDS)
    return dg.deserialize_value(answer, CanCancelExecutionResult).can_cancel


def gone(why: str) -> CheckRunHealthResult:
    """Return the health of a run that no longer exists, and why."""
    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"the worker is gone, {why}")
