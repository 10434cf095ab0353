"""The evaluation of a check that Dagster shows, and deletion of replaced evaluations.

A sensor that writes an evaluation every minute would add half a million rows a year to the event
log. Dagster deletes evaluations only with their runs, and those of a sensor have no run.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import takewhile

import dagster as dg
from sqlalchemy import ColumnElement, func, or_, select

from ar_sync_pipeline.operations.check_evaluation import key_of
from ar_sync_pipeline.operations.dagster_internals import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    RUNLESS_RUN_ID,
    AssetCheckEvaluationTargetMaterializationData,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
    AssetCheckExecutionsTable,
    SqlEventLogStorage,
    SqlEventLogStorageTable,
    SqliteEventLogStorage,
)
from ar_sync_pipeline.operations.pair_names import PairNames

_LOOK_BACK = 50
_BATCH = 200


def shown_evaluation(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey
) -> dg.AssetCheckEvaluation | None:
    """Return the evaluation that the UI shows now, whoever wrote it; None if it shows none.

    The UI shows only the last record. It shows nothing if a run has planned the check and has not
    evaluated it, or if the record is older than the newest materialization of the asset. Both
    happen to evaluations that a sensor writes during a run.
    """
    record = instance.get_latest_asset_check_evaluation_record(key)
    found = record.evaluation if record else None
    if record is None or not isinstance(found, dg.AssetCheckEvaluation):
        return None
    newest = _newest_materialization(instance, key.asset_key)
    return found if newest is None or _is_of(record, found, newest) else None


def last_evaluation(
    instance: dg.DagsterInstance, *keys: dg.AssetCheckKey
) -> dg.AssetCheckEvaluation | None:
    """Return the newest evaluation of checks, whether the UI shows it or not; None without one."""
    summaries = instance.event_log_storage.get_asset_check_summary_records(keys)
    last = (one.last_completed_check_execution_record for one in summaries.values())
    found = [(one.event.timestamp, one.evaluation) for one in last if one and one.event]
    _, evaluation = max(found, key=lambda one: one[0], default=(0.0, None))
    return evaluation


def failed_evaluations(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey
) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield the newest evaluations of a check back to its last success, the newest first."""
    history = instance.event_log_storage.get_asset_check_execution_history(
        key, limit=_LOOK_BACK, status=COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES
    )
    found = (record.evaluation for record in history if record.evaluation is not None)
    return takewhile(lambda one: not one.passed, found)


def place_of_run(instance: dg.DagsterInstance, key: dg.AssetCheckKey, run_id: str) -> int | None:
    """Return how many records are newer than a run's evaluation of a check; None without one."""
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=_LOOK_BACK)
    places = (
        place
        for place, record in enumerate(history)
        if record.run_id == run_id and isinstance(record.evaluation, dg.AssetCheckEvaluation)
    )
    return next(places, None)


def stays_shown(instance: dg.DagsterInstance, result: dg.AssetCheckResult) -> bool:
    """Return whether a sensor has recorded this success, so that the UI continues to show it.

    Dagster shows an evaluation without a run for every later materialization without a run.
    """
    record = instance.get_latest_asset_check_evaluation_record(key_of(result))
    found = record.evaluation if record and record.run_id == RUNLESS_RUN_ID else None
    if not isinstance(found, dg.AssetCheckEvaluation):
        return False
    return result.passed and found.passed and found.description == result.description


def newest_target(
    instance: dg.DagsterInstance, key: dg.AssetKey
) -> AssetCheckEvaluationTargetMaterializationData | None:
    """Return the materialization that an evaluation made now is about.

    Without it Dagster compares times, and SQLite stores times of evaluations in whole seconds.
    """
    newest = _newest_materialization(instance, key)
    if newest is None:
        return None
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=newest.storage_id,
        run_id=newest.event_log_entry.run_id,
        timestamp=newest.timestamp,
    )


def delete_replaced(
    instance: dg.DagsterInstance,
    key: dg.AssetCheckKey,
    is_replaced: Callable[[dg.AssetCheckEvaluation], bool],
) -> None:
    """Delete evaluations without a run that a newer one replaces; the newest one is kept."""
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=_LOOK_BACK)
    _delete_without_run(
        instance,
        [
            record
            for record in history[1:]
            if isinstance(record.evaluation, dg.AssetCheckEvaluation)
            and is_replaced(record.evaluation)
        ],
    )


def delete_overtaken(instance: dg.DagsterInstance, key: dg.AssetCheckKey, run_id: str) -> None:
    """Delete evaluations that others recorded after a run had planned the check.

    The evaluation of the run is written to the row of its plan. It is newer than theirs, but they
    would hide it until the next evaluation. Evaluations of other runs are kept in the logs of these
    runs.
    """
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=_LOOK_BACK)
    if all(record.run_id != run_id for record in history):
        return
    overtaken = [
        record
        for record in takewhile(lambda one: one.run_id != run_id, history)
        if isinstance(record.evaluation, dg.AssetCheckEvaluation)
    ]
    _delete_without_run(instance, overtaken)
    storage, checks = instance.event_log_storage, AssetCheckExecutionsTable
    if overtaken and isinstance(storage, SqlEventLogStorage):
        with storage.index_connection() as connection:
            connection.execute(checks.delete().where(checks.c.id.in_([o.id for o in overtaken])))


def forget_planned(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete the plans of a run's checks, which hide what was found before.

    Dagster stores an evaluation without a plan too.
    """
    storage, checks = instance.event_log_storage, AssetCheckExecutionsTable
    if not isinstance(storage, SqlEventLogStorage):
        return
    evaluated = [status.value for status in COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES]
    plans = checks.c.execution_status.not_in(evaluated)
    with storage.index_connection() as connection:
        connection.execute(checks.delete().where(checks.c.run_id == run_id, plans))


def runs_with_findings(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> set[str]:
    """Return those of some runs that found what no later evaluation of the same check replaces."""
    storage, checks = instance.event_log_storage, AssetCheckExecutionsTable
    if not isinstance(storage, SqlEventLogStorage):
        return set()
    evaluated = [status.value for status in COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES]
    newest = (
        select(func.max(checks.c.id))
        .where(checks.c.execution_status.in_(evaluated))
        .group_by(checks.c.asset_key, checks.c.check_name)
    )
    found = (
        select(checks.c.run_id)
        .where(checks.c.run_id.in_(run_ids), checks.c.id.in_(newest))
        .where(checks.c.execution_status == AssetCheckExecutionRecordStatus.FAILED.value)
    )
    with storage.index_connection() as connection:
        return set(connection.execute(found).scalars())


def _delete_without_run(
    instance: dg.DagsterInstance, records: Sequence[AssetCheckExecutionRecord]
) -> None:
    storage = instance.event_log_storage
    found = [record.id for record in records if record.run_id == RUNLESS_RUN_ID]
    if found and isinstance(storage, SqlEventLogStorage):
        _delete_where(storage, AssetCheckExecutionsTable.c.id.in_(found))


def delete_old_evaluations(
    instance: dg.DagsterInstance, before: datetime, names: PairNames
) -> None:
    """Delete old evaluations without a run; the newest one of each check is kept.

    Args:
        instance: Dagster instance.
        before: Evaluations older than this are deleted.
        names: Names of the pair whose checks these are.
    """
    storage, checks = instance.event_log_storage, AssetCheckExecutionsTable
    if not isinstance(storage, SqlEventLogStorage):
        return
    newest = checks.alias()
    is_newest = checks.c.id == (
        select(func.max(newest.c.id))
        .where(newest.c.asset_key == checks.c.asset_key)
        .where(newest.c.check_name == checks.c.check_name)
        .scalar_subquery()
    )
    _delete_where(
        storage,
        checks.c.run_id == RUNLESS_RUN_ID,
        is_of_pair(checks.c.asset_key, names),
        checks.c.evaluation_event_timestamp < before.astimezone(UTC).replace(tzinfo=None),
        ~is_newest,
    )


def is_of_pair(column: ColumnElement[str], names: PairNames) -> ColumnElement[bool]:
    """Return a condition on a column of asset keys; keys are stored as JSON lists."""
    beginnings = [dg.AssetKey(root).to_string()[:-1] for root in sorted(names.roots)]
    # Not LIKE, which ignores case in SQLite.
    return or_(*(func.substr(column, 1, len(text)) == text for text in beginnings))


def _newest_materialization(
    instance: dg.DagsterInstance, key: dg.AssetKey
) -> dg.EventLogRecord | None:
    return next(iter(instance.fetch_materializations(key, limit=1).records), None)


def _is_of(
    record: AssetCheckExecutionRecord, found: dg.AssetCheckEvaluation, newest: dg.EventLogRecord
) -> bool:
    """Return whether Dagster shows an evaluation for this materialization, by its own rules."""
    if record.run_id == newest.event_log_entry.run_id:
        return True
    target = found.target_materialization_data
    if target is None:
        return record.create_timestamp > newest.timestamp
    return target.storage_id == newest.storage_id


def _delete_where(storage: SqlEventLogStorage, *conditions: ColumnElement[bool]) -> None:
    """Delete evaluations with their events, in batches."""
    checks, log = AssetCheckExecutionsTable, SqlEventLogStorageTable
    columns = (checks.c.id, checks.c.evaluation_event_storage_id, checks.c.evaluation_event)
    while True:
        with storage.index_connection() as connection:
            found = connection.execute(select(*columns).where(*conditions).limit(_BATCH)).fetchall()
            if not found:
                return
            ids, event_ids, texts = zip(*found, strict=True)
            connection.execute(log.delete().where(log.c.id.in_(event_ids)))
            connection.execute(checks.delete().where(checks.c.id.in_(ids)))
        if isinstance(storage, SqliteEventLogStorage):
            # SQLite storage has a second copy, in the file of events without a run.
            with storage.run_connection(RUNLESS_RUN_ID) as connection:
                connection.execute(log.delete().where(log.c.event.in_(texts)))
