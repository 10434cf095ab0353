"""Wait of a load that was started while a partial is on its way."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.states import is_waiting

_POLL_SECONDS = 0.1
_LONGEST = timedelta(minutes=3)


def wait_for_partial(spool: Path, left: timedelta) -> bool:
    """Wait until a partial is in the spool, or the time is over; return whether there is one.

    The time that passes is measured, so a clock that is set back does not make it wait longer.
    """
    limit = time.monotonic() + min(left, _LONGEST).total_seconds()
    while not is_waiting(spool, ArchiveKind.PARTIAL):
        if time.monotonic() > limit:
            return False
        time.sleep(_POLL_SECONDS)
    return True
