"""Which windows have no archive: those that the schedule takes along, and older ones."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

# Longer than a night, since a line that is cut in the evening may be mended in the morning. What is
# older has come by the watermark all the same; its windows are left to a person, because Dagster
# keeps an event for each asset and window of a range.
HORIZON = timedelta(hours=12)
_MATERIALIZED = dg.AssetPartitionStatus.MATERIALIZED
_PAGE = 100


@dataclass(frozen=True)
class MissingWindows:
    """Closed windows without an archive, by their keys, oldest first.

    Attributes:
        recent: within the horizon.
        archive: the asset whose partitions they are.
        older: before it, as far back as the grid and the instance's memory of runs reach.
    """

    recent: tuple[str, ...]
    older: tuple[str, ...]
    archive: str = ""

    @property
    def older_in_words(self) -> str | None:
        """Which older windows are missing, and what to do; None if none is."""
        if not self.older:
            return None
        span = f"{self.older[0]} to {self.older[-1]}"
        return (
            f"{len(self.older)} windows from {span} have no archive and are too old to be taken"
            " along. No row is missing for that, later archives carried what changed in them. To"
            f" fill the grid, materialize {self.archive} for these windows by hand: it is one run."
        )


def missing_windows(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    windows: dg.TimeWindowPartitionsDefinition,
    now: datetime,
) -> list[str]:
    """Closed windows within the horizon that have no archive."""
    return list(find_missing_windows(instance, key, windows, now).recent)


def find_missing_windows(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    windows: dg.TimeWindowPartitionsDefinition,
    now: datetime,
) -> MissingWindows:
    """All closed windows without an archive, since the first dump that is remembered.

    Before it, since the grid's beginning, which is the installation; only the newest one where the
    grid is older than the horizon, as that of an installation that has lost its memory.
    """
    with dg.partition_loading_context(effective_dt=now):
        oldest, newest = windows.get_first_partition_window(), windows.get_last_partition_window()
        if oldest is None or newest is None:
            return MissingWindows((), ())
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
    """The start of the first window that was ever dumped: no window before it is missing.

    A run by hand that was given no window has marked none, and says nothing.
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
