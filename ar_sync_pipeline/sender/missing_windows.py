"""Windows without an archive: recent ones, which the schedule includes, and older ones."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

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
        recent: Windows within the horizon.
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
        span = f"{self.older[0]} to {self.older[-1]}"
        return (
            f"{len(self.older)} windows from {span} have no archive and are too old to be taken"
            " along. No rows are missing: later archives contain the changes. To"
            f" fill the grid, materialize {self.archive} for these windows by hand: it is one run."
        )


def missing_windows(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    windows: dg.TimeWindowPartitionsDefinition,
    now: datetime,
) -> list[str]:
    """Return the closed windows within the horizon that have no archive."""
    return list(find_missing_windows(instance, key, windows, now).recent)


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
    with dg.partition_loading_context(effective_dt=now):
        oldest, newest = windows.get_first_partition_window(), windows.get_last_partition_window()
        if oldest is None or newest is None:
            return MissingWindows((), (), key.to_user_string())
        is_new = newest.end - oldest.start <= HORIZON
        first = oldest.start if is_new else newest.start
        start = _first_dump(instance, key, windows) or first
        known = windows.get_partition_keys_in_time_window(dg.TimeWindow(start, newest.end))
        statuses = instance.get_status_by_partition(key, known, windows) or {}
    missing = [window for window in known if statuses.get(window) is not _MATERIALIZED]
    return _split(key, missing, windows, newest.end - HORIZON)


def _split(
    asset: dg.AssetKey,
    missing: list[str],
    windows: dg.TimeWindowPartitionsDefinition,
    horizon: datetime,
) -> MissingWindows:
    recent = [key for key in missing if windows.start_time_for_partition_key(key) >= horizon]
    older = missing[: len(missing) - len(recent)]
    return MissingWindows(tuple(recent), tuple(older), asset.to_user_string())


def _first_dump(
    instance: dg.DagsterInstance, key: dg.AssetKey, windows: dg.TimeWindowPartitionsDefinition
) -> datetime | None:
    """Return the start of the first window that was ever dumped: no earlier window is missing.

    A run by hand without a window has no partition, and is ignored.
    """
    cursor = None
    while True:
        page = instance.fetch_materializations(key, limit=_PAGE, cursor=cursor, ascending=True)
        for record in page.records:
            if record.partition_key is not None:
                return windows.start_time_for_partition_key(record.partition_key)
        if not page.has_more:
            return None
        cursor = page.cursor
