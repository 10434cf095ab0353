"""Duration of the phases of a dump or a load, so that a slow phase is visible in a plot."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds by phase: a lap counts the time since the previous lap.

    Attributes:
        seconds: Seconds of each phase so far; repetitions of a phase are added.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, phase: str) -> None:
        """End the phase of this name."""
        now = time.monotonic()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now
