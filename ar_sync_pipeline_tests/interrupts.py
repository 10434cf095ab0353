"""Interrupts of a test's own code, as Dagster interrupts the step of a run that a user ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ar_sync_pipeline_tests.waiting import until


class Interrupted(BaseException):
    """Like `dagster.DagsterExecutionInterruptedError`: no `KeyboardInterrupt`."""


@contextmanager
def interrupted_when(condition: Callable[[], bool], what: str) -> Iterator[None]:
    """Interrupt the main thread inside the block as soon as a condition is true."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    def wait() -> None:
        until(lambda: condition() or None, what)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    thread = threading.Thread(target=wait)
    thread.start()
    try:
        with pytest.raises(Interrupted):
            yield
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
