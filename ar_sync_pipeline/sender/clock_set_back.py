"""Windows whose archives were made while the clock was ahead.

The receiver parks such an archive until its date, and it is overtaken by then. Dagster shows its
window as materialized all the same, so nothing would be dumped until the true time has passed it.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

import dagster as dg

from ar_sync_pipeline.clock import from_epoch, not_ahead

# When the clock was set back is unknown. So many also fail `no_gap_in_windows` if nothing runs.
_NEWEST = 3
_MOST = 1_000


def windows_before_set_back(
    instance: dg.DagsterInstance, key: dg.AssetKey, closed: Sequence[str], now: datetime
) -> AbstractSet[str]:
    """Return the closed windows that were dumped before the clock was set back.

    Their events are dated after the last event, by its id: ids increase whatever the clock shows.
    As long as the last event itself is in the future, nothing was dumped since, and the newest
    windows are returned.

    Args:
        instance: Dagster instance.
        key: Asset of the archives.
        closed: Windows that have ended, oldest first.
        now: Current time.
    """
    last = next(iter(instance.fetch_materializations(key, limit=1).records), None)
    if last is None or not closed:
        return frozenset()
    if not not_ahead([from_epoch(last.timestamp)], now):
        return frozenset(closed[-_NEWEST:])
    recorded_later = dg.AssetRecordsFilter(
        key, asset_partitions=list(closed), after_timestamp=last.timestamp
    )
    ahead = instance.fetch_materializations(recorded_later, limit=_MOST).records
    if not ahead:
        return frozenset()
    newest = instance.event_log_storage.get_latest_storage_id_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION, {str(one.partition_key) for one in ahead}
    )
    ids = {one.storage_id for one in ahead}
    # The others were dumped again since.
    return {window for window, event_id in newest.items() if event_id in ids}
