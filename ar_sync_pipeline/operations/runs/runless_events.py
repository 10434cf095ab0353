"""Deletion of old materializations and observations that a sensor wrote, without a run."""

from datetime import UTC, datetime

import dagster as dg
from sqlalchemy import Connection, func, select

from ar_sync_pipeline.operations.check_history import is_of_pair
from ar_sync_pipeline.operations.dagster_internals import (
    RUNLESS_RUN_ID,
    AssetEventTagsTable,
    SqlEventLogStorage,
    SqlEventLogStorageTable,
    SqliteEventLogStorage,
)
from ar_sync_pipeline.operations.pair_names import PairNames

_BATCH = 500
_KINDS = [
    dg.DagsterEventType.ASSET_MATERIALIZATION.value,
    dg.DagsterEventType.ASSET_OBSERVATION.value,
]


def delete_old_runless_events(
    instance: dg.DagsterInstance, before: datetime, names: PairNames
) -> None:
    """Delete old events of assets without a run; the newest one of each asset and kind is kept.

    Args:
        instance: Dagster instance.
        before: Events older than this are deleted.
        names: Names of the pair whose assets these are.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return
    with storage.index_connection() as connection:
        _delete(connection, before, names)
    if isinstance(storage, SqliteEventLogStorage):
        # SQLite storage has a second copy, in the file of events without a run.
        with storage.run_connection(RUNLESS_RUN_ID) as connection:
            _delete(connection, before, names)


def _delete(connection: Connection, before: datetime, names: PairNames) -> None:
    log, tags = SqlEventLogStorageTable, AssetEventTagsTable
    runless = log.c.run_id == RUNLESS_RUN_ID, log.c.dagster_event_type.in_(_KINDS)
    newest = (
        select(func.max(log.c.id))
        .where(*runless)
        .group_by(log.c.asset_key, log.c.dagster_event_type)
    )
    old = (
        select(log.c.id)
        .where(*runless)
        .where(log.c.timestamp < before.astimezone(UTC).replace(tzinfo=None))
        .where(is_of_pair(log.c.asset_key, names))
        .where(log.c.id.not_in(newest))
        .limit(_BATCH)
    )
    while ids := list(connection.execute(old).scalars()):
        connection.execute(tags.delete().where(tags.c.event_id.in_(ids)))
        connection.execute(log.delete().where(log.c.id.in_(ids)))
