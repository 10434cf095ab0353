"""The clock that is passed in wherever time matters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

Clock = Callable[[], datetime]
"""Gives the present instant, aware UTC."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far two servers' clocks may differ without anything being said."""
