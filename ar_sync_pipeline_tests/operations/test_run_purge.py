"""Old runs are deleted with all their data; young runs and those of another host are kept."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline.operations.check_history import shown_evaluation
from ar_sync_pipeline.operations.pair_names import ALONE, PairNames
from ar_sync_pipeline.operations.runs.run_purge import Lifetimes, Purged, purge_runs
from ar_sync_pipeline.operations.runs.run_purge_job import purge_job
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory

LIFETIMES = Lifetimes(good=timedelta(days=14), bad=timedelta(days=28))
WINDOWS = dg.StaticPartitionsDefinition(["one", "two"])
OURS = "__repository__@sender"


@dg.asset(
    key_prefix="partial",
    partitions_def=WINDOWS,
    check_specs=[dg.AssetCheckSpec("sound", asset=["partial", "archive"])],
)
def archive(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
    if context.run.tags.get("fails"):
        raise dg.Failure("as asked")
    print("some output")  # noqa: T201  captured by Dagster
    check = dg.AssetCheckResult(
        passed="finds" not in context.run.tags, severity=dg.AssetCheckSeverity.WARN
    )
    return dg.MaterializeResult(check_results=[check])


@pytest.fixture(params=["sqlite", "postgres"])
def instance(
    request: pytest.FixtureRequest, tmp_path: Path, database_factory: DatabaseFactory
) -> Iterator[dg.DagsterInstance]:
    configuration = {"telemetry": {"enabled": False}}
    if request.param == "postgres":
        configuration["storage"] = {"postgres": {"postgres_url": database_factory()}}  # type: ignore[dict-item]
    (tmp_path / "dagster.yaml").write_text(json.dumps(configuration))
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def run(instance: dg.DagsterInstance, window: str = "one", **tags: str) -> str:
    """Make a finished run of one window."""
    result = dg.materialize(
        [archive], instance=instance, partition_key=window, tags=tags, raise_on_error=False
    )
    return result.run_id


def purge(instance: dg.DagsterInstance, days_later: float, names: PairNames = ALONE) -> Purged:
    now = datetime.now(UTC) + timedelta(days=days_later)
    return purge_runs(instance, LIFETIMES, lambda: now, lambda run: "other" not in run.tags, names)


def files(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    """Return all files that have a run's id in their names."""
    return list(Path(instance.root_directory).rglob(f"*{run_id}*"))


@pytest.mark.long
def test_run_is_deleted_with_events_output_files_and_check_evaluations(
    instance: dg.DagsterInstance,
) -> None:
    old = run(instance)
    assert files(instance, old)
    assert purge(instance, days_later=13).runs == 0
    purged = purge(instance, days_later=15)
    assert purged.runs == 1
    assert instance.get_run_by_id(old) is None
    assert files(instance, old) == []
    key = dg.AssetCheckKey(archive.key, "sound")
    assert instance.event_log_storage.get_asset_check_execution_history(key, limit=10) == []
    assert list(instance.fetch_materializations(archive.key, limit=10).records) == []


def test_run_that_failed_stays_twice_as_long(instance: dg.DagsterInstance) -> None:
    failed = run(instance, fails="yes")
    assert purge(instance, days_later=27).runs == 0
    assert instance.get_run_by_id(failed) is not None
    assert purge(instance, days_later=29).runs == 1


@pytest.mark.long
def test_run_with_the_newest_finding_of_a_check_stays_until_the_next_evaluation(
    instance: dg.DagsterInstance,
) -> None:
    """Completes may be rarer than the lifetime, and their findings stay true in between."""
    key = dg.AssetCheckKey(archive.key, "sound")
    replaced, newest = run(instance, finds="yes"), run(instance, finds="yes")
    assert purge(instance, days_later=15).runs == 1
    assert instance.get_run_by_id(replaced) is None
    found = shown_evaluation(instance, key)
    assert found is not None
    assert not found.passed
    assert files(instance, newest)
    run(instance)
    purge(instance, days_later=15)
    assert instance.get_run_by_id(newest) is None
    assert instance.get_run_records() == []


def test_runs_of_another_host_and_unfinished_ones_stay(instance: dg.DagsterInstance) -> None:
    others = run(instance, other="yes")
    queued = instance.create_run_for_job(
        dg.Definitions([archive]).resolve_implicit_global_asset_job_def()
    )
    assert purge(instance, days_later=100) == Purged(runs=0, files=0, unfinished=False)
    assert instance.get_run_by_id(others) is not None
    assert instance.get_run_by_id(queued.run_id) is not None


def test_what_sensors_found_by_checks_goes_as_late_as_a_failed_run_but_the_newest(
    instance: dg.DagsterInstance,
) -> None:
    key = dg.AssetCheckKey(archive.key, "sound")
    for passed in (True, False, True):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(archive.key, "sound", passed=passed)
        )
    purge(instance, days_later=27)
    storage = instance.event_log_storage
    assert len(storage.get_asset_check_execution_history(key, limit=10)) == 3
    purge(instance, days_later=29)
    (newest,) = storage.get_asset_check_execution_history(key, limit=10)
    assert newest.evaluation
    assert newest.evaluation.passed
    logged = storage.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    )
    assert len(logged) == 1


@pytest.mark.long
def test_more_runs_than_one_batch_are_deleted_in_one_purge(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ar_sync_pipeline.operations.runs.run_purge._BATCH", 2)
    runs = [run(instance, other="yes"), *(run(instance, w) for w in ["one", "two"] * 2)]
    assert purge(instance, days_later=15).runs == 4
    assert [each.run_id for each in instance.get_runs()] == runs[:1]


@pytest.mark.long
@pytest.mark.parametrize("instance", ["sqlite"], indirect=True)
def test_files_that_an_interrupted_purge_left_are_deleted_by_the_next(
    instance: dg.DagsterInstance,
) -> None:
    assert isinstance(instance.event_log_storage, SqliteEventLogStorage)
    old, young = run(instance), run(instance)
    instance.delete_run(old)
    left = Path(instance.event_log_storage.path_for_shard(old))
    assert left.exists()
    assert purge(instance, days_later=0).files >= 1
    assert not left.exists()
    assert Path(instance.event_log_storage.path_for_shard(young)).exists()


@pytest.mark.long
def test_job_deletes_runs_of_its_own_code_location_and_those_from_its_command_line(
    instance: dg.DagsterInstance,
) -> None:
    repository = ".dagster/repository"
    mine = run(instance, **{repository: OURS})
    others = run(instance, **{repository: "__repository__@receiver"})
    by_hand = run(instance)
    later = datetime.now(UTC) + timedelta(days=15)
    own_name = instance.get_run_by_id(by_hand)
    assert own_name is not None
    job = purge_job("sender", 14, [own_name.job_name], lambda: later, ALONE)
    result = job.execute_in_process(instance=instance, tags={repository: OURS})
    assert result.success
    assert {each.run_id for each in instance.get_runs()} == {others, result.run_id}
    assert mine != by_hand


def test_run_by_hand_is_deleted_by_the_pair_of_its_assets_alone(
    instance: dg.DagsterInstance,
) -> None:
    def by_hand(*pairs: str) -> str:
        made = create_run_for_test(
            instance,
            job_name="__ASSET_JOB",
            status=dg.DagsterRunStatus.SUCCESS,
            asset_selection=frozenset(dg.AssetKey([pair, "partial", "archive"]) for pair in pairs),
            tags={".dagster/repository": OURS},
        )
        return str(made.run_id)

    lima, santiago, both = by_hand("lima"), by_hand("lima_2"), by_hand("lima", "lima_2")
    later = datetime.now(UTC) + timedelta(days=15)
    job = purge_job("sender", 14, [], lambda: later, PairNames("lima"))
    assert job.execute_in_process(instance=instance, tags={".dagster/repository": OURS}).success
    left = {each.run_id for each in instance.get_runs()}
    assert santiago in left
    assert lima not in left
    assert both not in left


@pytest.mark.parametrize(
    ("names", "own"), [(PairNames("a_b"), "a_b"), (ALONE, "receiver")], ids=["named", "plain"]
)
def test_what_was_found_by_the_checks_of_another_pair_stays(
    instance: dg.DagsterInstance, names: PairNames, own: str
) -> None:
    # LIKE of SQLite takes "A_B" for "a_b".
    roots = ["a_b", "axb", "A_B", "receiver", "receivers"]
    for root in roots * 2:
        key = dg.AssetKey([root, "applied_archives"])
        instance.report_runless_asset_event(dg.AssetCheckEvaluation(key, "sound", passed=True))
    purge(instance, days_later=100, names=names)
    storage = instance.event_log_storage
    left = {
        root: len(
            storage.get_asset_check_execution_history(
                dg.AssetCheckKey(dg.AssetKey([root, "applied_archives"]), "sound"), limit=10
            )
        )
        for root in roots
    }
    assert left == dict.fromkeys(roots, 2) | {own: 1}


@pytest.mark.long
def test_events_without_a_run_are_deleted_but_for_the_newest_of_each_asset(
    instance: dg.DagsterInstance,
) -> None:
    other = dg.AssetKey(["receiver", "other"])
    for number in range(3):
        for key in (archive.key, other):
            materialization = dg.AssetMaterialization(
                key, metadata={"number": number}, tags={DATA_VERSION_TAG: "1"}
            )
            instance.report_runless_asset_event(materialization)
            instance.report_runless_asset_event(
                dg.AssetObservation(key, metadata={"number": number})
            )
    with_run = run(instance)
    purge(instance, days_later=13)
    assert numbers(instance, archive.key) == [None, 2, 1, 0]
    purge(instance, days_later=15)
    assert instance.get_run_by_id(with_run) is None
    for key in (archive.key, other):
        assert numbers(instance, key) == [2]
        assert len(instance.fetch_observations(key, limit=10).records) == 1
    assert purge(instance, days_later=16) == Purged(0, 0, unfinished=False)


def numbers(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[object]:
    """Return what the materializations of an asset say, newest first; None for those of runs."""
    found: list[object] = []
    for record in instance.fetch_materializations(key, limit=10).records:
        assert record.asset_materialization is not None
        number = record.asset_materialization.metadata.get("number")
        found.append(number and number.value)
    return found
