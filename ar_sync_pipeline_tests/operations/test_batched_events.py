"""Events of many windows are stored in batches, and equal those of Dagster's own storage."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from ar_sync_pipeline.operations.runs.batched_events import BatchedSqliteEventLogStorage

WINDOWS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-02-01")
KEYS = [dg.AssetKey("rows"), dg.AssetKey("archive")]
RANGE = {
    "dagster/asset_partition_range_start": "2026-01-03",
    "dagster/asset_partition_range_end": "2026-01-22",
}


@dg.multi_asset(
    specs=[dg.AssetSpec(key) for key in KEYS],
    check_specs=[dg.AssetCheckSpec("sound", asset=KEYS[1])],
    partitions_def=WINDOWS,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def partial() -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:  # type: ignore[type-arg]
    for number, key in enumerate(KEYS):
        yield dg.MaterializeResult(asset_key=key, metadata={"number": number})
    yield dg.AssetCheckResult(asset_key=KEYS[1], check_name="sound", passed=True)


def open_instance(home: Path, *, batched: bool) -> dg.DagsterInstance:
    home.mkdir()
    configuration: dict[str, object] = {"telemetry": {"enabled": False}}
    if batched:
        configuration["event_log_storage"] = {
            "module": "ar_sync_pipeline.operations.runs.batched_events",
            "class": "BatchedSqliteEventLogStorage",
        }
    (home / "dagster.yaml").write_text(json.dumps(configuration))
    return dg.DagsterInstance.from_config(str(home))


def remembered(instance: dg.DagsterInstance) -> dict[str, object]:
    """Return what the UI shows of a run over a range, and of its assets."""
    result = dg.materialize([partial], instance=instance, tags=RANGE)
    events = instance.all_logs(result.run_id)
    kinds = sorted(e.dagster_event_type.value for e in events if e.dagster_event_type)
    newest = instance.get_latest_materialization_event(KEYS[1])
    assert newest is not None
    assert newest.asset_materialization is not None
    status = instance.get_status_by_partition(KEYS[0], WINDOWS.get_partition_keys(), WINDOWS)
    check = dg.AssetCheckKey(KEYS[1], "sound")
    history = instance.event_log_storage.get_asset_check_execution_history(check, limit=9)
    return {
        "kinds": kinds,
        "status": {key: value and value.value for key, value in (status or {}).items()},
        "newest": newest.asset_materialization.partition,
        "materializations": [
            [r.partition_key for r in instance.fetch_materializations(key, limit=99).records]
            for key in KEYS
        ],
        "checks": [record.status.value for record in history],
    }


@pytest.mark.long
def test_same_is_remembered_with_and_without_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "ours"))
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "")  # so that the test's end removes it
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE")
    with open_instance(tmp_path / "theirs", batched=False) as instance:
        theirs = remembered(instance)
    transactions = counting(monkeypatch, BatchedSqliteEventLogStorage.index_transaction)
    with open_instance(tmp_path / "ours", batched=True) as instance:
        assert isinstance(instance.event_log_storage, BatchedSqliteEventLogStorage)
        assert remembered(instance) == theirs
    assert len(transactions) < 20


def counting(monkeypatch: pytest.MonkeyPatch, original: Callable[..., object]) -> list[int]:
    """Count the transactions in which events of assets are written."""
    seen: list[int] = []

    def counted(storage: BatchedSqliteEventLogStorage) -> object:
        seen.append(1)
        return original(storage)

    monkeypatch.setattr(BatchedSqliteEventLogStorage, "index_transaction", counted)
    return seen
