"""Run launcher of `dagster.yaml`: Dagster's own, which also detects that a worker is gone.

A code server reports at once that one of its workers was killed. If the server goes down with its
workers (a reboot, a power failure), nothing reports it, and Dagster's own launcher cannot check.
Such a run would count as started until its maximum runtime, and block all others of its pool. Run
monitoring asks this launcher instead.
"""

import time
from typing import Any, Self

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import (
    CanCancelExecutionRequest,
    CanCancelExecutionResult,
    CheckRunHealthResult,
    ConfigurableClassData,
    DagsterGrpcClient,
    DagsterUserCodeUnreachableError,
    WorkerStatus,
)

_ANSWER_WITHIN_SECONDS = 10
_ENDS_WITHIN_SECONDS = 20
_POLL_SECONDS = 0.5
# Longer than a reboot or a short network outage.
SILENT_SECONDS = 600


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Launches runs on code servers, and asks the servers whether a run still exists."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data=inst_data)
        self._silent_since: dict[str, float] = {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> Self:  # noqa: ANN401  as its base
        """Make the launcher; Dagster calls this. There is nothing to configure."""
        del config_value
        return cls(inst_data=inst_data)

    def terminate(self, run_id: str) -> bool:
        """Terminate a run, and wait up to 20 seconds until its worker has reported the end.

        Run monitoring records the failure of a run that took too long when this returns. A worker
        that reports itself canceled after that would undo the failure, and with it the retry.
        """
        is_ending: bool = super().terminate(run_id)  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + _ENDS_WITHIN_SECONDS
        while is_ending and time.monotonic() < deadline:
            run = self._instance.get_run_by_id(run_id)
            if run is None or run.is_finished:
                break
            time.sleep(_POLL_SECONDS)
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
        client: DagsterGrpcClient | None = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "no code server is known")
        try:
            here = _has_run(client, run.run_id)
        except DagsterUserCodeUnreachableError:
            if client.socket is not None:
                return _gone("its code server is gone")
            return self._health_without_answer(run.run_id)
        self._silent_since.pop(run.run_id, None)
        if here:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return _gone("its code server was restarted")

    def _health_without_answer(self, run_id: str) -> CheckRunHealthResult:
        now = time.monotonic()
        if now - self._silent_since.setdefault(run_id, now) < SILENT_SECONDS:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its code server does not answer")
        del self._silent_since[run_id]
        return _gone(f"its code server has not answered for {SILENT_SECONDS // 60} minutes")


def _has_run(client: DagsterGrpcClient, run_id: str) -> bool:
    request = CanCancelExecutionRequest(run_id=run_id)
    answer = client.can_cancel_execution(request, timeout=_ANSWER_WITHIN_SECONDS)
    return dg.deserialize_value(answer, CanCancelExecutionResult).can_cancel


def _gone(why: str) -> CheckRunHealthResult:
    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"the worker is gone, {why}")
