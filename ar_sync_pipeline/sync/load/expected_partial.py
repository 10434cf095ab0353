"""Wait of a load that was started while a partial is on its way."""

from __future__ import annotations

import time
from pathlib import Path

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.states import is_waiting

_POLL_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 180.0
"""A run that waits holds the pool of loads."""


def wait_for_partial(spool: Path, seconds: float) -> bool:
    """Wait until a partial is in the spool, or the time is over; return whether there is one.

    The time that passes is measured, so a clock that is set back does not make it wait longer.
    """
    limit = time.monotonic() + seconds
    while not is_waiting(spool, ArchiveKind.PARTIAL):
        if time.monotonic() > limit:
            return False
        time.sleep(_POLL_SECONDS)
    return True
