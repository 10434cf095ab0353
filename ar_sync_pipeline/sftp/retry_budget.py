"""Decides when a publication is retried: without limit while new bytes arrive, else not for long.

Only bytes that had not arrived before count as progress. A connection that fails after each login
is no better than a host that does not answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sftp.errors import (
    ConnectionLostError,
    DamagedUploadError,
    UnreachableHostError,
    UnresolvableHostError,
)
from ar_sync_pipeline.sftp.limits import SessionLimits

# A changed media file is also a transient error, but the same archive cannot be sent again: it must
# be rebuilt.
CONNECTION_ERRORS = (UnresolvableHostError, UnreachableHostError, ConnectionLostError)
_DAMAGED_UPLOADS = 2
# A shorter part of the budget is not enough to reach the host.
_SHORTEST_ATTEMPT = 0.05


@dataclass(frozen=True)
class RetryPlan:
    """Limits of the retries after errors of the connection.

    Attributes:
        fruitless_seconds: Time from the last new byte to the end of all attempts; the next run, or
            the next attempt of the step, sends the archive.
        first_wait_seconds: Wait before the second attempt; doubled after each attempt without
            progress.
        longest_wait_seconds: Longest wait between two attempts.
        session: Time limits of one attempt.
    """

    fruitless_seconds: float = 90
    first_wait_seconds: float = 1
    longest_wait_seconds: float = 15
    session: SessionLimits = field(default_factory=SessionLimits)


class RetryBudget:
    """Decides after each failed attempt of one publication whether and when to retry.

    Args:
        plan: Limits of the retries.
        on_failure: Function that gets each error of the connection.
    """

    def __init__(self, plan: RetryPlan, on_failure: Callable[[ArSyncError], None] | None) -> None:
        self._plan = plan
        self._on_failure = on_failure
        self._last_new_byte_at = time.monotonic()
        self._arrived_bytes = 0
        self._fruitless_attempts = 0
        self._damaged_uploads = 0

    def arrived(self, bytes_there: int) -> None:
        """Record how many bytes of the archive are confirmed."""
        if bytes_there > self._arrived_bytes:
            self._arrived_bytes = bytes_there
            self._last_new_byte_at = time.monotonic()
            self._fruitless_attempts = 0

    def limits(self) -> SessionLimits:
        """Return the limits of the next attempt, so that it ends in time without progress."""
        return self._plan.session.within(self._left_seconds)

    def seconds_to_next_attempt(self, error: ArSyncError) -> float | None:
        """Return the wait before the next attempt; None if there is none."""
        if not isinstance(error, (*CONNECTION_ERRORS, DamagedUploadError)):
            return None
        if self._on_failure is not None:
            self._on_failure(error)
        if isinstance(error, DamagedUploadError):
            self._damaged_uploads += 1
            if self._damaged_uploads == _DAMAGED_UPLOADS:
                return None
            # The upload starts again, so every byte is new.
            self._arrived_bytes = 0
            self._last_new_byte_at = time.monotonic()
        plan = self._plan
        wait = min(plan.first_wait_seconds * 2**self._fruitless_attempts, plan.longest_wait_seconds)
        self._fruitless_attempts += 1
        shortest = _SHORTEST_ATTEMPT * plan.fruitless_seconds
        return wait if self._left_seconds - wait >= shortest else None

    @property
    def _left_seconds(self) -> float:
        return self._last_new_byte_at + self._plan.fruitless_seconds - time.monotonic()
