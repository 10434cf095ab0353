"""When to try a publication again: without end while something arrives, else not for long.

What counts is bytes that had not arrived before. A line that lets the sender log in and then dies,
again and again, is no better than one on which nobody answers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sftp.errors import (
    ConnectionLostError,
    DamagedUploadError,
    UnreachableHostError,
    UnresolvableHostError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ar_sync_pipeline.sftp.session import SessionLimits

# What may pass by itself. That a picture changed under the sender's hands is also transient, but
# sending the same archive once more would be no use: it has to be built again.
ROAD_ERRORS = (UnresolvableHostError, UnreachableHostError, ConnectionLostError)
_DAMAGED_UPLOADS = 2
# An attempt that gets less than this part of the whole patience could not reach anybody.
_SHORTEST_ATTEMPT = 0.05


@dataclass(frozen=True)
class RetryPlan:
    """How long a publication is tried again after the road was at fault.

    Attributes:
        fruitless_seconds: all attempts end this long after the last byte that was new to the
            receiver; the next run, or the next attempt of the step, takes the archive along.
        first_wait_seconds: between two attempts; doubled after each one that brought nothing.
        longest_wait_seconds: between two attempts.
    """

    fruitless_seconds: float = 90
    first_wait_seconds: float = 1
    longest_wait_seconds: float = 15


class RetryBudget:
    """Decides after each failed attempt at one publication whether, and when, the next one starts.

    Args:
        on_failure: told of each failure of the road.
    """

    def __init__(self, plan: RetryPlan, on_failure: Callable[[ArSyncError], None] | None) -> None:
        self._plan = plan
        self._on_failure = on_failure
        self._last_new_byte_at = time.monotonic()
        self._arrived_bytes = 0
        self._fruitless_attempts = 0
        self._damaged_uploads = 0

    def arrived(self, bytes_there: int) -> None:
        """Say how much of the archive is safely at the receiver."""
        if bytes_there > self._arrived_bytes:
            self._arrived_bytes = bytes_there
            self._last_new_byte_at = time.monotonic()
            self._fruitless_attempts = 0

    def limits(self, limits: SessionLimits) -> SessionLimits:
        """Return the limits of the next attempt, which ends in time even if it brings nothing."""
        return limits.within(self._left_seconds)

    def seconds_to_next_attempt(self, error: Exception) -> float | bool:
        """Return how long to wait before the next attempt; False if there is none."""
        if not isinstance(error, (*ROAD_ERRORS, DamagedUploadError)):
            return False
        if self._on_failure is not None:
            self._on_failure(error)
        if isinstance(error, DamagedUploadError):
            self._damaged_uploads += 1
            if self._damaged_uploads == _DAMAGED_UPLOADS:
                return False
            # It starts from nothing, so every byte is a new one.
            self._arrived_bytes = 0
            self._last_new_byte_at = time.monotonic()
        plan = self._plan
        wait = min(plan.first_wait_seconds * 2**self._fruitless_attempts, plan.longest_wait_seconds)
        self._fruitless_attempts += 1
        shortest = _SHORTEST_ATTEMPT * plan.fruitless_seconds
        return wait if self._left_seconds - wait >= shortest else False

    @property
    def _left_seconds(self) -> float:
        return self._last_new_byte_at + self._plan.fruitless_seconds - time.monotonic()
