"""How long the phases of a dump or a load take, so that a slow one shows in a chart."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds by phase: a lap counts what has passed since the lap before it.

    Attributes:
        seconds: of each phase so far; a phase that comes again adds up.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, phase: str) -> None:
        """The phase of this name ends now."""
        now = time.monotonic()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now
