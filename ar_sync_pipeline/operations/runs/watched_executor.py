"""Executor of all runs: it runs in one process and ends that process when the run was ended.

A run is ended from outside when it takes too long, when a user terminates it, or when its code
server no longer has it; its process gets a signal to stop. A process that ignores the signal would
continue in parallel to the retry of its run. It therefore checks the state of the run itself, and
kills itself.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import dagster as dg

from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.operations.dagster_internals import (
    ExecutionPlan,
    InProcessExecutor,
    PlanOrchestrationContext,
    RetryMode,
    current_execution_context,
)
from ar_sync_pipeline.operations.runs.longer_runs import put_limit_back
from ar_sync_pipeline.operations.runs.own_process import name_process

_CHECK_EVERY_SECONDS = 5.0
# Longer than the time that the transform command has to end.
_GRACE_SECONDS = 30.0
_ENDED = frozenset(
    {
        dg.DagsterRunStatus.CANCELING,
        dg.DagsterRunStatus.CANCELED,
        dg.DagsterRunStatus.FAILURE,
    }
)
# Names of executor definitions: one that is made of an executor, such as ours, and Dagster's two.
_IN_ONE_PROCESS = frozenset({"__executor__", "in_process", "execute_in_process_executor"})


class SpreadStepsError(TerminalError):
    """The executor of a job would execute each step in a process of its own."""


class WatchedExecutor(InProcessExecutor):
    """Dagster's in-process executor with a thread that monitors the state of the run."""

    def __init__(
        self,
        *,
        check_every_seconds: float = _CHECK_EVERY_SECONDS,
        grace_seconds: float = _GRACE_SECONDS,
    ) -> None:
        super().__init__(RetryMode.ENABLED)
        self._check_every_seconds = check_every_seconds
        self._grace_seconds = grace_seconds

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Execute the steps one after the other."""
        instance, run_id = plan_context.instance, plan_context.run_id
        name_process(instance, plan_context.dagster_run)
        put_limit_back(instance, plan_context.dagster_run)

        def is_ended() -> bool:
            run = instance.get_run_by_id(run_id)
            return run is None or run.status in _ENDED

        with _watching(is_ended, self._check_every_seconds, self._grace_seconds):
            yield from super().execute(plan_context, execution_plan)


@cache
def shared_executor() -> WatchedExecutor:
    """Return the executor of all pairs of a process: a code location can have only one."""
    return WatchedExecutor()


def refuse_spread_steps() -> None:
    """Check that the current step, if any, is executed in the process of its run.

    A code location has one executor, but a job that an operator adds to it may have its own.

    Raises:
        SpreadStepsError: It is executed in a process of its own.
    """
    context = current_execution_context.get()
    if context is None:
        return
    job = context.job_def
    if job.executor_def.name not in _IN_ONE_PROCESS:
        raise SpreadStepsError(
            f"the executor {job.executor_def.name} of the job {job.name} spreads its steps over"
            " processes, and they share a scratch folder and a database session",
            remedy="remove executor_def from this job; a run launcher may put whole runs elsewhere",
        )


@contextmanager
def _watching(
    is_ended: Callable[[], bool], check_every_seconds: float, grace_seconds: float
) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        while not done.wait(check_every_seconds):
            if _is_known_to_have_ended(is_ended) and not done.wait(grace_seconds):
                os.kill(os.getpid(), signal.SIGKILL)

    watcher = threading.Thread(target=watch, name="run-watcher", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _is_known_to_have_ended(is_ended: Callable[[], bool]) -> bool:
    """Return whether the run is known to have ended; False if the instance cannot be read."""
    try:
        return is_ended()
    except Exception:  # noqa: BLE001  whatever the storage raises, the work continues
        return False
