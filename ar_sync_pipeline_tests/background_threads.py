"""Background threads of a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def until_done(*targets: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run functions in threads until the block ends; their failures fail the test."""
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
