"""Bandwidth limit: how long to wait before the next bytes are sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class RateLimit:
    """Limits the bytes per second of all connections of one upload together.

    Unused bandwidth does not accumulate, so no burst follows a pause.

    Args:
        bytes_per_second: Limit; None: no limit.
        clock: Monotonic clock in seconds.
        sleep: Function that waits for some seconds.
    """

    def __init__(
        self,
        bytes_per_second: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait(self, size_bytes: int) -> None:
        """Wait until the next ``size_bytes`` may be sent."""
        if self._bytes_per_second is None:
            return
        with self._lock:
            now = self._clock()
            start = max(self._free_at, now)
            self._free_at = start + size_bytes / self._bytes_per_second
        if start > now:
            self._sleep(start - now)
