"""Threads that do something while a test works in its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def until_done(*targets: Callable[[threading.Event], None]) -> Iterator[None]:
    """Threads that do something until the block ends; their failures are the test's."""
    done, failures = threading.Event(), list[BaseException]()

    def guarded(target: Callable[[threading.Event], None]) -> None:
        try:
            target(done)
        except BaseException as error:  # noqa: BLE001  raised again by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=[target]) for target in targets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
