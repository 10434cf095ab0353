"""Runs a transform command by a supervisor, which outlives a step that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Final

from ar_sync_pipeline.postgres.errors import (
    DatabaseFailedError,
    DatabaseRefusedError,
    DatabaseUnreachableError,
)
from ar_sync_pipeline.transform.errors import CommandFailedError, TransformRunningError
from ar_sync_pipeline.transform.process_tree import kill_session
from ar_sync_pipeline.transform.supervisor import GRACE_SECONDS, Order, Outcome

_ERRORS: Final = {
    error.code: error
    for error in (
        DatabaseFailedError,
        DatabaseRefusedError,
        DatabaseUnreachableError,
        TransformRunningError,
    )
}
# For the supervisor's own start, its connection and the wait for the lock.
_START_SECONDS: Final = 120


def run_supervised(
    words: Sequence[str], environment: Mapping[str, str], url: str, timeout_seconds: float
) -> int:
    """Run a command to its end; return its exit status.

    Args:
        words: Program and arguments.
        environment: Environment of the command.
        url: URL of the database whose rows it transforms.
        timeout_seconds: Seconds after which it is terminated, with all that it started.

    Raises:
        CommandFailedError: It could not be started, or was terminated.
        TransformRunningError: Another transform works on the database.
        DatabaseUnreachableError: The server cannot be reached.
        DatabaseRefusedError: The server refused the connection.
    """
    outcome = _outcome(Order([*words], timeout_seconds, url), environment)
    if outcome.status is None:
        error = _ERRORS.get(outcome.code, CommandFailedError)
        raise error(outcome.problem, remedy=outcome.remedy)
    return outcome.status


def _outcome(order: Order, environment: Mapping[str, str]) -> Outcome:
    outcome_end, supervisors_end = os.pipe()
    with os.fdopen(outcome_end, "rb") as outcome:
        try:
            supervisor = _start(supervisors_end, environment)
        finally:
            os.close(supervisors_end)
        try:
            _send(supervisor, order)
            with suppress(subprocess.TimeoutExpired):
                supervisor.wait(order.timeout_seconds + GRACE_SECONDS + _START_SECONDS)
        finally:
            _end(supervisor)
        found = outcome.read()
    if found:
        return Outcome(**json.loads(found))
    # The session outlives its leader.
    _kill_group(supervisor)
    kill_session(supervisor.pid)
    if supervisor.returncode >= 0:
        return Outcome(
            problem="the process that supervises the transform command failed (exit status"
            f" {supervisor.returncode})",
            remedy="read its traceback in the run's logs, then materialize this asset again",
        )
    return Outcome(
        problem="the process that supervises the transform command was killed",
        remedy="look for the OOM killer in the system's log, then materialize this asset again",
    )


def _start(outcome_fd: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    module = "ar_sync_pipeline.transform.supervisor"
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(outcome_fd)],
        env=environment,
        stdin=subprocess.PIPE,
        pass_fds=[outcome_fd],
        start_new_session=True,
    )


def _send(supervisor: subprocess.Popen[bytes], order: Order) -> None:
    # By the pipe: everybody may read arguments, and the URL may have a password.
    if supervisor.stdin is None:
        raise AssertionError
    with suppress(BrokenPipeError):
        supervisor.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        supervisor.stdin.flush()


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    """Close the pipe, and wait until the supervisor has ended the command."""
    if supervisor.stdin is not None:
        with suppress(BrokenPipeError):
            supervisor.stdin.close()
    try:
        supervisor.wait(2 * GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        _kill_group(supervisor)
        supervisor.wait()


def _kill_group(supervisor: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(supervisor.pid, signal.SIGKILL)
