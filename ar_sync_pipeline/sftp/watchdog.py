"""Watchdog thread that closes a connection without progress, and so ends every hang.

paramiko's own timeouts have gaps: that of a channel does not cover a blocked write,
``invoke_subsystem`` has none, and keepalives do not wait for answers (paramiko #739, #1845, #2463).
Closing the connection from another thread ends all of these calls within 0.1 s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self


class Watchdog:
    """Interrupts a connection when a watched step makes no progress, or takes too long.

    Between watched steps it does nothing: the caller may be busy with something else.

    Args:
        interrupt: Closes the connection; called at most once, from the watchdog thread.
    """

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt
        self._changed = threading.Condition()
        self._silence_seconds: float | None = None
        self._last_progress = 0.0
        self._end: float | None = None
        self._stopped = False
        self._reason: str | None = None
        self._thread = threading.Thread(target=self._watch, name="sftp-watchdog", daemon=True)

    def __enter__(self) -> Self:
        """Start watching."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Stop the watchdog thread and wait for its end."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    @property
    def reason(self) -> str | None:
        """Reason for the interruption; None if there was none."""
        return self._reason

    def progress(self) -> None:
        """Record progress of the watched step."""
        self._last_progress = time.monotonic()

    @contextmanager
    def watching(self, *, silence_seconds: float, total_seconds: float | None) -> Iterator[None]:
        """Watch one step with a limit without progress and a limit in total.

        A nested step has its own limits; afterwards those of the outer step apply again.
        """
        with self._changed:
            outer = (self._silence_seconds, self._end)
            self._last_progress = time.monotonic()
            self._silence_seconds = silence_seconds
            self._end = None if total_seconds is None else self._last_progress + total_seconds
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._silence_seconds, self._end = outer
                self._last_progress = time.monotonic()

    def _watch(self) -> None:
        with self._changed:
            while not self._stopped and self._reason is None:
                self._reason = self._verdict(time.monotonic())
                if self._reason is None:
                    self._changed.wait(self._seconds_to_next_check(time.monotonic()))
        if self._reason is not None:
            self._interrupt()

    def _verdict(self, now: float) -> str | None:
        if self._silence_seconds is None:
            return None
        if now - self._last_progress >= self._silence_seconds:
            return f"no progress for {self._silence_seconds:.3g} s"
        if self._end is not None and now >= self._end:
            return "it took longer than its time limit"
        return None

    def _seconds_to_next_check(self, now: float) -> float | None:
        if self._silence_seconds is None:
            return None
        due = self._last_progress + self._silence_seconds
        return max(min(due, self._end or due) - now, 0.0)
