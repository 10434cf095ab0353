"""The run launcher of `dagster.yaml`: as Dagster's own, and it notices that a worker is gone.

A code server reports at once that one of its workers was killed. When the server went down with
its workers (a reboot, a power cut) nobody is left to report it, and Dagster's own launcher cannot
look: such a run would count as started until its longest time is over, and hold back all others of
its pool. Run monitoring asks this launcher instead.
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
# A reboot and a short outage of the network are over by then.
SILENT_SECONDS = 600


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Launches runs on the code servers, and asks these whether a run is still there."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data=inst_data)
        self._silent_since: dict[str, float] = {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> Self:  # noqa: ANN401  as its base
        """Made by Dagster; there is nothing to configure."""
        del config_value
        return cls(inst_data=inst_data)

    def terminate(self, run_id: str) -> bool:
        """End a run, and wait a little until its worker has said its last word.

        Run monitoring notes the failure of a run that took too long when this returns. A worker
        that reported itself canceled after that would take it back, and with it the retry.
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
        """What Dagster's own launcher cannot do."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the code server that started a run still has it.

        A server that does not answer over the network may be cut off while its run goes on. After
        some minutes its run counts as gone, so that its pool has room and the run is tried again;
        a run that is still there ends itself as soon as it sees that (`WatchedExecutor`). A server
        that was reached by a local socket never comes back at the same place.
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
        return _gone("its code server was started anew")

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
