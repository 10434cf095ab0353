"""Runs a transform command for a step: ``python -m ar_sync_pipeline.transform.supervisor``.

A step that the OOM killer ends can no longer end its command. This process does: it is the leader
of the command's process group, and the step holds a pipe to it, which the kernel closes with the
step. Processes that leave the group, as by ``timeout`` or ``setsid``, are ended as descendants.
While the command runs, it holds the lock that excludes other transforms.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.transform.process_tree import adopt_orphans, end_descendants, reap_orphans
from ar_sync_pipeline.transform.transform_lock import lock_out_other_transforms

GRACE_SECONDS: Final = 10
"""Seconds between SIGTERM and SIGKILL."""
_STEP: Final = 0
_POLL_SECONDS: Final = 0.1
_KILL_SECONDS: Final = 5


@dataclass(frozen=True)
class Order:
    """What a step wants to be run: one line of JSON on the standard input.

    Attributes:
        url: URL of the receiver's database, for the lock.
    """

    words: list[str]
    timeout_seconds: float
    url: str = field(repr=False)


@dataclass(frozen=True)
class Outcome:
    """How the command ended, as JSON for the step.

    Attributes:
        status: Exit status; None: it did not run to its end.
        problem: What kept it from that.
        remedy: What to do.
        code: Code of the error; empty if it is the command's.
    """

    status: int | None = None
    problem: str = ""
    remedy: str = ""
    code: str = ""


def main() -> None:
    """Run the command; the argument is the descriptor to which its outcome is written."""
    # It is meant for the rest of the group; a handler, unlike SIG_IGN, is not inherited.
    signal.signal(signal.SIGTERM, lambda *_: None)
    line = sys.stdin.buffer.readline()
    if not line:
        return  # the step has ended
    order = Order(**json.loads(line))
    adopt_orphans()
    try:
        with connect(order.url, application="transform command") as connection:
            lock_out_other_transforms(connection)
            outcome = _run(order)
            if outcome.status is None:
                # While the lock is held: whatever is left of the command, then this process.
                outcome = _kill(outcome)
            _report(outcome)
            if outcome.status is None:
                os.killpg(0, signal.SIGKILL)
    except ArSyncError as error:
        _report(Outcome(None, error.problem, error.remedy, error.code))


def _run(order: Order) -> Outcome:
    """Run the command to its end, or terminate it at its time limit or with the step."""
    program, ended = order.words[0], Outcome(problem="the step of the transform command ended")
    if _step_has_ended(within_seconds=0):
        return ended
    try:
        command = subprocess.Popen(order.words, stdin=subprocess.DEVNULL)
    except OSError as error:
        return Outcome(
            problem=f"the transform command {program} cannot be started ({error.strerror})",
            remedy="correct AR_SYNC_TRANSFORM, then materialize this asset again",
        )
    deadline = time.monotonic() + order.timeout_seconds
    while (status := command.poll()) is None:
        reap_orphans(command=command.pid)
        if _step_has_ended(within_seconds=_POLL_SECONDS):
            _terminate(command)
            return ended
        if time.monotonic() > deadline:
            _terminate(command)
            return Outcome(
                problem="the transform command ran longer than"
                f" {order.timeout_seconds / 60:.0f} minutes and was ended",
                remedy="correct the program, or raise AR_SYNC_TRANSFORM_TIMEOUT",
            )
    return Outcome(status)


def _step_has_ended(*, within_seconds: float) -> bool:
    """Return whether the pipe is closed; the step writes nothing after its order."""
    return bool(select.select([_STEP], [], [], within_seconds)[0])


def _terminate(command: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    os.killpg(0, signal.SIGTERM)
    end_descendants(signal.SIGTERM, within_seconds=GRACE_SECONDS, except_group=os.getpgrp())
    with suppress(subprocess.TimeoutExpired):
        command.wait(timeout=max(0.0, deadline - time.monotonic()))


def _kill(outcome: Outcome) -> Outcome:
    """Kill all descendants; name those that go on, as programs of another account do."""
    left = end_descendants(signal.SIGKILL, within_seconds=_KILL_SECONDS)
    if not left:
        return outcome
    processes = ", ".join(map(str, left))
    return replace(
        outcome,
        problem=f"{outcome.problem}, but processes that it started still run ({processes})",
        remedy=f"end them as root: `kill -9 {processes.replace(',', '')}`; {outcome.remedy}",
    )


def _report(outcome: Outcome) -> None:
    # The step that would read it may be gone.
    with suppress(BrokenPipeError), os.fdopen(int(sys.argv[1]), "w") as report:
        json.dump(asdict(outcome), report)


if __name__ == "__main__":
    main()
