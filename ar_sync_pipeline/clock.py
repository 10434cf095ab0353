"""The clock type; code that needs the time is given a clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

Clock = Callable[[], datetime]
"""Returns the current time, aware UTC."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""Largest difference between the clocks of two servers that is not reported."""
