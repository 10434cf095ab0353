"""Wait of a run that was started before the end of its window."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.sync.errors import WindowStillOpenError

_LONGEST_PAUSE_SECONDS = 1.0
_LEAST_PAUSE_SECONDS = 0.005
# Time servers correct a clock by less.
_CORRECTION = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(minutes=3)


def wait_for_end(
    end: datetime,
    clock: Clock,
    *,
    before: timedelta = timedelta(),
    correction: timedelta = _CORRECTION,
) -> None:
    """Return when a window has ended, or some time before.

    The time that passes is measured too, so a clock that is set back does not make it wait for
    ever.

    Args:
        before: How long before the end to return.
        correction: By how much the clock may be set back meanwhile.

    Raises:
        WindowStillOpenError: The window ends later than any early run starts, or the clock was set
            back while the run waited.
    """
    left = end - before - clock()
    if left > _LONGEST_WAIT:
        raise WindowStillOpenError(end, clock())
    limit = time.monotonic() + (left + correction).total_seconds()
    while (left := end - before - clock()) > timedelta():
        if time.monotonic() > limit:
            raise WindowStillOpenError(end, clock())
        pause = min(left.total_seconds(), _LONGEST_PAUSE_SECONDS)
        time.sleep(max(pause, _LEAST_PAUSE_SECONDS))
