"""Windows without an archive: recent ones, which the schedule includes, and older ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from ar_sync_pipeline.sender.clock_set_back import windows_before_set_back
from ar_sync_pipeline.visible_text import counted

# Longer than a night, because a link that fails in the evening may be repaired in the morning.
# Older changes are in later archives because of the watermark. Their windows are filled by
# hand, because Dagster stores an event for each asset and window of a range.
HORIZON = timedelta(hours=12)
_MATERIALIZED = dg.AssetPartitionStatus.MATERIALIZED
_PAGE = 100


@dataclass(frozen=True)
class MissingWindows:
    """Closed windows without an archive, by their keys, oldest first.

    Attributes:
        recent: Windows within the horizon. A window whose archive was made while the clock was
            ahead counts as missing, because the next archive overtakes it.
        older: Windows before it, as far back as the grid and the runs in the instance reach.
        archive: Asset whose partitions they are.
    """

    recent: tuple[str, ...]
    older: tuple[str, ...]
    archive: str

    @property
    def older_in_words(self) -> str | None:
        """Which older windows are missing, and what to do; None if there are none."""
        if not self.older:
            return None
        span = f"from {self.older[0]} to {self.older[-1]}"
        many = counted(
            len(self.older),
            f"window {span} has no archive and is",
            f"windows {span} have no archive and are",
        )
        return (
            f"{many} too old to be taken along. No rows are missing: later archives contain the"
            f" changes. To fill the grid, materialize {self.archive} for these windows by hand:"
            " each unbroken range is one run."
        )


def no_window_yet(windows: dg.TimeWindowPartitionsDefinition, now: datetime) -> str | None:
    """Return why the grid has no closed window, and what to do; None if it has one."""
    with dg.partition_loading_context(effective_dt=now):
        if windows.get_last_partition_window() is not None:
            return None
    return (
        f"No window has ended: the first one begins at {windows.start:%Y-%m-%d %H:%M} UTC. If this"
        " is in the future, the clock was ahead when the code location was loaded: restart its code"
        " server."
    )


def before_the_grid(windows: dg.TimeWindowPartitionsDefinition, start: datetime) -> str:
    """Return why a window or range that begins before the grid cannot be filled, and what to do.

    A code server offers the windows of its own start; each run has the grid of today.
    """
    return (
        f"The window or range begins at {start:%Y-%m-%d %H:%M} UTC, and the grid of windows at"
        f" {windows.start:%Y-%m-%d %H:%M} UTC (AR_SYNC_PARTITIONS_START days back): choose windows"
        " from then on. The UI offers older ones until the sender's code server is restarted; no"
        " rows are missing for them."
    )


def find_missing_windows(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    windows: dg.TimeWindowPartitionsDefinition,
    now: datetime,
) -> MissingWindows:
    """Return all closed windows without an archive, since the first dump in the instance.

    Without a dump they count from the start of the grid, which is the installation. If the grid is
    older than the horizon, as after a loss of the instance's data, only the newest window counts.
    """
    asset = key.to_user_string()
    with dg.partition_loading_context(effective_dt=now):
        oldest, newest = windows.get_first_partition_window(), windows.get_last_partition_window()
        if oldest is None or newest is None:
            return MissingWindows((), (), asset)
        is_new = newest.end - oldest.start <= HORIZON
        first = oldest.start if is_new else newest.start
        start = _first_dump(instance, key, windows, newest.end) or first
        horizon = max(oldest.start, newest.end - HORIZON)
        older = _keys(windows, start, horizon)
        recent = _keys(windows, horizon, newest.end)
        statuses = instance.get_status_by_partition(key, [*older, *recent], windows) or {}
    void = windows_before_set_back(instance, key, recent, now)

    def is_missing(window: str) -> bool:
        known = windows.start_time_for_partition_key(window) >= start
        return window in void or (known and statuses.get(window) is not _MATERIALIZED)

    return MissingWindows(
        tuple(filter(is_missing, recent)), tuple(filter(is_missing, older)), asset
    )


def _keys(
    windows: dg.TimeWindowPartitionsDefinition, start: datetime, end: datetime
) -> Sequence[str]:
    if start >= end:
        return ()
    return windows.get_partition_keys_in_time_window(dg.TimeWindow(start, end))


def _first_dump(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    windows: dg.TimeWindowPartitionsDefinition,
    until: datetime,
) -> datetime | None:
    """Return the start of the first window that was ever dumped: no earlier window is missing.

    A run by hand without a window has no partition, and is ignored. So is a window after `until`: a
    clock that was ahead made its archive.
    """
    cursor = None
    while True:
        page = instance.fetch_materializations(key, limit=_PAGE, cursor=cursor, ascending=True)
        for record in page.records:
            if record.partition_key is None:
                continue
            start = windows.start_time_for_partition_key(record.partition_key)
            if start < until:
                return start
        if not page.has_more:
            return None
        cursor = page.cursor
