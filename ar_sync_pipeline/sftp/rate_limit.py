"""A limit on bandwidth: how long to wait before the next bytes may go."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RateLimit:
    """Lets so many bytes a second pass, all connections of one upload together.

    Time that was not used is not saved up, so a pause is never followed by a burst.

    Args:
        bytes_per_second: None for no limit.
        clock: seconds that never go back.
        sleep: waits so many seconds.
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
        """Return when the next ``size_bytes`` may be sent."""
        if self._bytes_per_second is None:
            return
        with self._lock:
            now = self._clock()
            start = max(self._free_at, now)
            self._free_at = start + size_bytes / self._bytes_per_second
        if start > now:
            self._sleep(start - now)
