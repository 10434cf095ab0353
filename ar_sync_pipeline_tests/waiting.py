"""Waiting for what another thread, process or server does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(
    condition: Callable[[], Found | None], what: str, seconds: float = 60, *, every: float = 0.05
) -> Found:
    """Wait for a condition; return its first true value.

    Args:
        condition: It is asked every so many seconds, and less often the longer it takes.
        what: What is waited for, for the message.
        seconds: Longest wait.
        every: First pause.

    Raises:
        AssertionError: It did not come true in time.
    """
    began = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - began
        assert waited < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(max(every, min(1.0, waited / 20)))
    return found
