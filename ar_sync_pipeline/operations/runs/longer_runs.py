"""More time for a run whose work has a limit of its own: its maximum runtime is for runs that hang.

Run monitoring reads the tag of a run each time, so a run may change its own limit.
"""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import dagster as dg

_SPARE_SECONDS = 3600.0
_REPORT_EVERY_SECONDS = 300.0
_LONGEST_WAIT_SECONDS = 60.0
# A run that is terminated has half a minute for everything that it still has to do.
_WAIT_OF_FAILED_SECONDS = 5.0
_EXTEND = "extend"
# Run monitoring reads it, too.
_OTHER_TAG = "dagster/max_runtime_seconds"
# The run whose limit was extended, its limit before and after: Dagster copies all tags to a retry.
_BEFORE_TAG = "ar_sync/max_runtime_before"


def max_runtime_seconds(run: dg.DagsterRun, default: float = 0) -> float:
    """Return a run's maximum runtime, as run monitoring reads its tags; 0: it has none.

    Args:
        run: The run. A user who launches one may write anything into a tag.
        default: Maximum runtime of a run without a tag.
    """
    limit = run.tags.get(dg.MAX_RUNTIME_SECONDS_TAG, run.tags.get(_OTHER_TAG))
    if not limit:
        return default
    try:
        seconds = float(limit)
    except ValueError:
        return 0
    return seconds if math.isfinite(seconds) else 0


def allow_for(
    instance: dg.DagsterInstance,
    run_id: str,
    seconds: float,
    *,
    now: float | None = None,
    more_seconds: float = 0,
) -> None:
    """Extend a run's maximum runtime, if it would end work that may take this long from now.

    An error of Dagster's storage is ignored: the work itself does not need it.

    Args:
        instance: Dagster instance.
        run_id: Id of the run.
        seconds: Time that the work may take; the run has an hour besides.
        now: Current time in seconds since the epoch.
        more_seconds: Further time, if the limit is changed at all.
    """
    with suppress(Exception):
        record = instance.get_run_record_by_id(run_id)
        if record is None or record.start_time is None:
            return
        default = float(instance.run_monitoring_max_runtime_seconds)
        longest = max_runtime_seconds(record.dagster_run, default)
        elapsed = (time.time() if now is None else now) - record.start_time
        needed = elapsed + seconds + _SPARE_SECONDS
        # Without a limit there is nothing to extend.
        if 0 < longest < needed:
            before = _limit_before(record.dagster_run) or f"{longest:.0f}"
            after = f"{needed + more_seconds:.0f}"
            extension = f"{run_id} {before} {after}"
            tags = {dg.MAX_RUNTIME_SECONDS_TAG: after, _BEFORE_TAG: extension}
            instance.add_run_tags(run_id, tags)


def put_limit_back(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Give a retry the maximum runtime that the run before it began with.

    A limit that a user gave a run that was launched again stays. An error of Dagster's storage is
    ignored: the work itself does not need it.
    """
    extension = run.tags.get(_BEFORE_TAG, "").split()
    if extension and extension[0] != run.run_id:
        before = _limit_before(run)
        limit = {dg.MAX_RUNTIME_SECONDS_TAG: before} if before else {}
        with suppress(Exception):
            instance.add_run_tags(run.run_id, {**limit, _BEFORE_TAG: ""})


def _limit_before(run: dg.DagsterRun) -> str:
    """Return the limit of a run before it was extended; empty if it is not an extended one."""
    match run.tags.get(_BEFORE_TAG, "").split():
        case [_, before, after] if after == run.tags.get(dg.MAX_RUNTIME_SECONDS_TAG):
            return before
        case [_, before]:  # of an earlier version
            return before
    return ""


class LongerRun:
    """Extends a run's maximum runtime while the run reports progress.

    After each report at least an hour is left, however long the run has taken. The work and the
    watch of its locks report, from several threads; nothing that hangs or fails here holds them up.

    Args:
        instance: Dagster instance.
        run_id: Id of the run.
        clock: Returns the current time in seconds since the epoch.
        on_progress: Called a few times an hour while there is progress.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        run_id: str,
        *,
        clock: Callable[[], float] = time.time,
        on_progress: Callable[[], object] = lambda: None,
    ) -> None:
        self._instance, self._run_id = instance, run_id
        self._clock, self._on_progress = clock, on_progress
        self._reported_at = clock()
        self._guard = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}

    def progress(self) -> None:
        """Report progress, as often as there is any."""
        with self._guard:
            now = self._clock()
            # Also if the clock was set back: the next report would be waited for until then.
            if abs(now - self._reported_at) < _REPORT_EVERY_SECONDS:
                return
            self._reported_at = now
        # In threads of their own: a storage or disk that hangs must not hold up who reports.
        self._in_thread("on-progress", self._on_progress)
        # Each change of a tag writes the whole run, so there is one an hour.
        self._in_thread(
            _EXTEND,
            lambda: allow_for(
                self._instance, self._run_id, 0, now=now, more_seconds=_SPARE_SECONDS
            ),
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: object, error: object, tb: object) -> None:
        """Wait for the last report; after an error, which is to be told soon, only for a moment."""
        self.wait(_LONGEST_WAIT_SECONDS if error is None else _WAIT_OF_FAILED_SECONDS)

    def wait(self, at_most_seconds: float = _LONGEST_WAIT_SECONDS) -> None:
        """Wait for the last report, so that it does not change the run while its end is recorded.

        A storage that hangs is not waited for.
        """
        report = self._threads.get(_EXTEND)
        if report is not None:
            report.join(at_most_seconds)

    def _in_thread(self, name: str, act: Callable[[], object]) -> None:
        """Do something in a thread, unless the last one still hangs; errors are ignored."""
        before = self._threads.get(name)
        if before is not None and before.is_alive():
            return

        def run() -> None:
            with suppress(Exception):
                act()

        # At the limit of threads none can be started; the next report tries again.
        with suppress(RuntimeError):
            thread = threading.Thread(target=run, name=f"longer-run-{name}", daemon=True)
            thread.start()
            self._threads[name] = thread
