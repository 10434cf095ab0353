"""Decision whether a run over the missing windows is requested now, by schedule and sensor."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from logging import Logger

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.pair_names import SIDE_TAG, PairNames
from ar_sync_pipeline.operations.runs.backoff import next_try
from ar_sync_pipeline.operations.runs.run_state import (
    failures_in_a_row,
    last_success,
    work_under_way,
)
from ar_sync_pipeline.operations.windows import WINDOW_TAG, window_in_words
from ar_sync_pipeline.sender.missing_windows import (
    MissingWindows,
    find_missing_windows,
    no_window_yet,
)
from ar_sync_pipeline.visible_text import counted

SCHEDULE = "partial_dump_schedule"


@dataclass(frozen=True)
class WindowRequests:
    """Requests of runs over missing windows: one run at a time, with pauses after failures.

    Attributes:
        job: Name of the job that dumps windows.
        windows: The grid.
        clock: Current time.
        names: Names of the definitions of this sender.
    """

    job: str
    windows: dg.TimeWindowPartitionsDefinition
    clock: Clock
    names: PairNames

    def request(
        self, instance: dg.DagsterInstance, until: datetime, mark: str, log: Callable[[], Logger]
    ) -> dg.RunRequest | dg.SkipReason:
        """Request one run over all missing windows that end by a time, or say why none is needed.

        Args:
            instance: Dagster instance.
            until: End of the newest window that is requested; it may be in the near future.
            mark: What requests the run; the same mark never requests the same newest window twice.
            log: Returns the log of the tick. Dagster makes a file for each tick that asks for it.
        """
        key = archive_key(ArchiveKind.PARTIAL, self.names)
        none_yet = no_window_yet(self.windows, until)
        if none_yet is not None:
            return dg.SkipReason(none_yet)
        at_work = work_under_way(instance, self.job, key, self.clock())
        if at_work is not None:
            return dg.SkipReason(f"{at_work} is still at work; the next tick catches up.")
        pause = self._pause(instance, key)
        if pause is not None:
            return dg.SkipReason(pause)
        missing = find_missing_windows(instance, key, self.windows, until)
        if missing.older_in_words is not None:
            log().warning(missing.older_in_words)
        if not missing.recent:
            return dg.SkipReason(missing.older_in_words or "No window is missing.")
        return self._run_over(missing, mark)

    def _pause(self, instance: dg.DagsterInstance, key: dg.AssetKey) -> str | None:
        """Return why nothing is requested now, after failures; None if a run may be requested."""
        now = self.clock()
        success = last_success(instance, key, now, tags={SIDE_TAG: self.names.name("sender")})
        failures = failures_in_a_row(instance, self.job, success, now)
        again = next_try(failures)
        if again is None or again <= now:
            return None
        failed = counted(len(failures), "run has failed", "runs in a row have failed")
        return (
            f"{failed}, see the last one; again at the first tick"
            f" after {again:%H:%M:%S} UTC, over all windows that are missing then."
        )

    def _run_over(self, missing: MissingWindows, mark: str) -> dg.RunRequest:
        windows, first, last = self.windows, missing.recent[0], missing.recent[-1]
        start = windows.start_time_for_partition_key(first)
        end = windows.time_window_for_partition_key(last).end
        many = len(windows.get_partition_keys_in_time_window(dg.TimeWindow(start, end)))
        tags = {
            WINDOW_TAG: window_in_words(start, end, many),
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
        if missing.older:
            tags["ar_sync/missing_older_windows"] = f"{missing.older[0]} to {missing.older[-1]}"
        return dg.RunRequest(run_key=f"{last}_{mark}", tags=tags)
