"""More time for a run that makes progress: its maximum runtime is for runs that hang."""

import time
from collections.abc import Callable
from contextlib import suppress

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import MAX_RUNTIME_SECONDS_TAG

# Run monitoring reads the tag of a run each time, so a run may change its own.
_SPARE_SECONDS = 3600.0
_LOOK_EVERY_SECONDS = 300.0


class LongerRun:
    """Moves the end of a run's maximum runtime while the run reports progress.

    After each report at least an hour is left, however long the run has taken.

    Args:
        instance: Dagster instance.
        run_id: Id of the run.
        clock: Returns the current time in seconds since the epoch.
        on_look: Called a few times an hour while there is progress.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        run_id: str,
        *,
        clock: Callable[[], float] = time.time,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._instance, self._run_id = instance, run_id
        self._clock, self._on_look = clock, on_look
        self._looked_at = clock()

    def progress(self) -> None:
        """Report progress, as often as there is any."""
        now = self._clock()
        # Also if the clock was set back: the next report would be waited for until then.
        if abs(now - self._looked_at) < _LOOK_EVERY_SECONDS:
            return
        self._looked_at = now
        # Whatever the storage or the disk raises, the work continues.
        with suppress(Exception):
            self._on_look()
            self._extend(now)

    def _extend(self, now: float) -> None:
        record = self._instance.get_run_record_by_id(self._run_id)
        if record is None or record.start_time is None:
            return
        limit = record.dagster_run.tags.get(MAX_RUNTIME_SECONDS_TAG)
        longest = float(limit or self._instance.run_monitoring_max_runtime_seconds)
        needed = now - record.start_time + _SPARE_SECONDS
        # Without a limit there is nothing to extend.
        if 0 < longest < needed:
            # An hour more than needed, because each change of a tag writes the whole run.
            seconds = f"{needed + _SPARE_SECONDS:.0f}"
            self._instance.add_run_tags(self._run_id, {MAX_RUNTIME_SECONDS_TAG: seconds})
