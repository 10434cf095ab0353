"""Event log storage of `dagster.yaml`: Dagster's SQLite storage, with one transaction for a batch.

Dagster writes two events for each asset and window of a range, with several commits for each.
These commits, not the dump, take most of the time of a backfill of many windows. Dagster can pass
events in batches to the storage, but its SQLite storage still commits them one by one.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import (
    ASSET_EVENTS,
    ConfigurableClassData,
    SqliteEventLogStorage,
    UserConfigSchema,
)

_BATCH_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
_BATCH = "500"


class BatchedSqliteEventLogStorage(SqliteEventLogStorage):
    """Stores events below ``DAGSTER_HOME``, in the folder of Dagster's own SQLite storage.

    If it is not set, the folder is below ``.dagster`` in the current folder.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Dagster reads the batch size only from its environment; the default is no batches.
        os.environ.setdefault(_BATCH_VARIABLE, _BATCH)
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Return the configuration: the folder, if it is not the default."""
        return {"base_dir": dg.Field(dg.StringSource, is_required=False)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:  # noqa: ANN401  as its base
        """Make the storage; Dagster calls this."""
        folder = config_value.get("base_dir")
        if folder is None:
            # `dg` and `dagster dev` need no DAGSTER_HOME; all their processes share the folder.
            home = os.environ.get("DAGSTER_HOME") or Path.cwd() / ".dagster"
            folder = str(Path(home) / "history" / "runs")
        return cls(folder, inst_data)

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store events of one run; those of assets in one transaction for each of the two files."""
        of_assets = [event for event in events if _is_of_asset(event)]
        if of_assets:
            self._store_asset_events(of_assets)
        for event in events:
            if not _is_of_asset(event):
                self.store_event(event)

    def _store_asset_events(self, events: Sequence[dg.EventLogEntry]) -> None:
        with self.run_connection(events[0].run_id) as run_log:
            for event in events:
                run_log.execute(self.prepare_insert_event(event))
        with self.index_transaction() as index:
            ids = [index.execute(self.prepare_insert_event(event)).lastrowid for event in events]
            self._store_asset_event_tags(index, list(events), ids)
            newest = {
                event.get_dagster_event().asset_key: (event, event_id)
                for event, event_id in zip(events, ids, strict=True)
            }
            for event, event_id in newest.values():
                self._store_asset_event(index, event, event_id)


def _is_of_asset(event: dg.EventLogEntry) -> bool:
    return event.is_dagster_event and event.dagster_event_type in ASSET_EVENTS
