"""The one thing that ends every hang: a thread that cuts a connection without progress.

paramiko's own time-outs each leave a way to wait for ever: a channel's does not cover a blocked
write, ``invoke_subsystem`` has none, keepalives do not wait for answers (paramiko #739, #1845,
#2463). Closing the connection from another thread ends all of them within 0.1 s.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType


class Watchdog:
    """Cuts a connection when a watched step makes no progress, or lasts too long in all.

    Between watched steps it waits for ever: the caller may be busy with something else.

    Args:
        cut: closes the connection; called at most once, from the watchdog's thread.
    """

    def __init__(self, cut: Callable[[], None]) -> None:
        self._cut = cut
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
        """Stop; the thread is gone on return."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    @property
    def reason(self) -> str | None:
        """Why the connection was cut; None if it was not."""
        return self._reason

    def progress(self) -> None:
        """Say that something moved."""
        self._last_progress = time.monotonic()

    @contextmanager
    def watching(self, *, silence_seconds: float, total_seconds: float | None) -> Iterator[None]:
        """Watch one step: at most so long without progress, at most so long in all.

        A step inside a step has its own limits; afterwards the outer ones hold again.
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
                    self._changed.wait(self._seconds_to_next_look(time.monotonic()))
        if self._reason is not None:
            self._cut()

    def _verdict(self, now: float) -> str | None:
        if self._silence_seconds is None:
            return None
        if now - self._last_progress >= self._silence_seconds:
            return f"no progress for {self._silence_seconds:.3g} s"
        if self._end is not None and now >= self._end:
            return "it took longer than its time limit"
        return None

    def _seconds_to_next_look(self, now: float) -> float | None:
        if self._silence_seconds is None:
            return None
        due = self._last_progress + self._silence_seconds
        return max(min(due, self._end or due) - now, 0.0)
