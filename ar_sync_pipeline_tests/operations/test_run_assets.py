"""A run by hand is work of the kind whose assets it makes, whatever the user selected in the UI."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.events import StepMaterializationData
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import (
    admitted_key,
    applied_archives_key,
    archive_key,
    postprocessed_key,
)
from ar_sync_pipeline.operations.dagster_internals import IMPLICIT_ASSET_JOB_NAME
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.operations.runs.run_assets import EVALUATED_ALONE
from ar_sync_pipeline.operations.runs.run_state import (
    at_work_since,
    has_last_run_failed,
    last_end_by_hand,
    work_under_way,
)
from ar_sync_pipeline_tests.fix_dagster import Deployment

NAMES = PairNames("city")
PARTIAL, COMPLETE = (
    archive_key(kind, NAMES) for kind in (ArchiveKind.PARTIAL, ArchiveKind.COMPLETE)
)
LEDGER, ADMITTED, TRANSFORMED = (
    applied_archives_key(NAMES),
    admitted_key(NAMES),
    postprocessed_key(NAMES),
)
WORKS = [PARTIAL, COMPLETE, LEDGER, ADMITTED, TRANSFORMED]
OTHER_PAIR = [archive_key(ArchiveKind.PARTIAL, PairNames("town")), dg.AssetKey("of_an_operator")]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def started(
    instance: dg.DagsterInstance,
    *,
    assets: list[dg.AssetKey] | None = None,
    checks: list[dg.AssetCheckKey] | None = None,
    tags: dict[str, str] | None = None,
) -> dg.DagsterRun:
    """Create a run as the UI does: only checks are selected by an empty selection of assets."""
    run: dg.DagsterRun = create_run_for_test(
        instance,
        IMPLICIT_ASSET_JOB_NAME,
        asset_selection=frozenset(assets or []),
        asset_check_selection=frozenset(checks) if checks else None,
        tags=tags,
    )
    start = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
    instance.report_dagster_event(start, run.run_id)
    return run


def under_way(instance: dg.DagsterInstance, now: datetime | None = None) -> list[dg.AssetKey]:
    now = now or datetime.now(UTC)
    return [key for key in WORKS if work_under_way(instance, "some_job", key, now)]


def works_under_way(instance: dg.DagsterInstance) -> list[dg.AssetKey]:
    found = under_way(instance)
    assert [key for key in WORKS if at_work_since(instance, ["some_job"], key)] == found
    return found


@pytest.mark.parametrize(
    ("selected", "work"),
    [
        *((key, key) for key in WORKS),
        (NAMES.key("partial", "tables", "stop"), PARTIAL),
        (NAMES.key("complete", "media_bundle"), COMPLETE),
        (NAMES.key("receiver", "tables", "stop"), LEDGER),
        (NAMES.key("receiver", "media"), LEDGER),
        *((key, None) for key in OTHER_PAIR),
    ],
    ids=str,
)
def test_run_of_one_asset_or_of_a_check_of_it_does_the_whole_work(
    instance: dg.DagsterInstance, selected: dg.AssetKey, work: dg.AssetKey | None
) -> None:
    for checks in ([], [dg.AssetCheckKey(selected, "free_space")]):
        run = started(instance, assets=[] if checks else [selected], checks=checks)
        assert works_under_way(instance) == ([work] if work else [])
        instance.report_run_failed(run)
        assert works_under_way(instance) == []
        for key in WORKS:
            assert has_last_run_failed(instance, [], key) == (key == work)
            assert (last_end_by_hand(instance, key, datetime.now(UTC)) is None) == (key != work)
        instance.delete_run(run.run_id)


def test_run_that_has_made_its_partial_and_now_uploads_a_complete_is_no_dump_of_partials(
    instance: dg.DagsterInstance,
) -> None:
    """The upload may take days, in which no partial would be sent."""
    run = started(instance, assets=[PARTIAL, COMPLETE])
    assert under_way(instance) == [PARTIAL, COMPLETE]
    make(instance, run, PARTIAL)
    assert under_way(instance) == [COMPLETE]
    scheduled = started(instance, assets=[PARTIAL])
    make(instance, scheduled, PARTIAL)
    instance.report_run_failed(scheduled)
    assert under_way(instance) == [COMPLETE], "its own partial is not the newest any more"


def make(instance: dg.DagsterInstance, run: dg.DagsterRun, key: dg.AssetKey) -> None:
    made = dg.DagsterEvent(
        dg.DagsterEventType.ASSET_MATERIALIZATION.value,
        job_name=run.job_name,
        event_specific_data=StepMaterializationData(dg.AssetMaterialization(key)),
    )
    instance.report_dagster_event(made, run.run_id)


def asset(
    key: dg.AssetKey,
    act: Callable[[], object] = lambda: None,
    *,
    after: Sequence[dg.AssetKey] = (),
    first: bool = False,
    retries: int = 0,
) -> dg.AssetsDefinition:
    @dg.asset(
        key=key,
        deps=after,
        op_tags={"dagster/priority": str(int(first))},
        retry_policy=dg.RetryPolicy(max_retries=retries),
    )
    def made() -> None:
        act()

    return made


@pytest.mark.parametrize("retries", [0, 1])
def test_run_whose_partial_failed_and_that_now_uploads_a_complete_is_no_dump_of_partials(
    instance: dg.DagsterInstance, retries: int
) -> None:
    """Dagster executes the steps that do not need the failed one; none of them makes a partial."""
    found: list[list[dg.AssetKey]] = []

    def fail() -> None:
        found.append(under_way(instance))
        raise ValueError

    rows = NAMES.key("partial", "tables", "stop")
    assets = [
        asset(rows, fail, first=True, retries=retries),
        asset(PARTIAL, after=[rows]),
        asset(COMPLETE, lambda: found.append(under_way(instance))),
    ]
    job = dg.Definitions(assets=assets).resolve_implicit_global_asset_job_def()
    selected = [rows, PARTIAL, COMPLETE]
    job.execute_in_process(instance=instance, asset_selection=selected, raise_on_error=False)
    assert found == [*([[PARTIAL, COMPLETE]] * (retries + 1)), [COMPLETE]]


def test_backfill_is_work_on_an_asset_until_its_runs_for_it_are_over(
    instance: dg.DagsterInstance,
) -> None:
    """Dagster keeps it open until its last asset is made, for example a complete."""
    now = datetime.now(UTC)
    backfill = PartitionBackfill(
        "of_operator",
        BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=now.timestamp(),
        asset_selection=[PARTIAL, COMPLETE],
        serialized_asset_backfill_data="",
    )
    instance.add_backfill(backfill)
    assert under_way(instance, now) == [PARTIAL, COMPLETE]
    assert under_way(instance, now + timedelta(minutes=11)) == [], "its code location is gone"
    run = started(instance, assets=[PARTIAL], tags={"dagster/backfill": "of_operator"})
    assert under_way(instance, now + timedelta(minutes=11)) == [PARTIAL]
    instance.report_run_failed(run)
    assert under_way(instance, now) == [COMPLETE]


@pytest.mark.parametrize("name", sorted(EVALUATED_ALONE))
def test_check_that_only_looks_is_no_work(instance: dg.DagsterInstance, name: str) -> None:
    for key in WORKS:
        started(instance, checks=[dg.AssetCheckKey(key, name)])
    assert works_under_way(instance) == []


@pytest.mark.long
def test_checks_that_are_evaluated_alone_are_all_named(deployment: Deployment) -> None:
    alone = set[str]()
    for definitions in (deployment.sender_definitions(), deployment.receiver_definitions()):
        for found in (*(definitions.assets or ()), *(definitions.asset_checks or ())):
            if isinstance(found, dg.AssetsDefinition) and not found.keys:
                alone |= {spec.name for spec in found.check_specs}
    assert alone == EVALUATED_ALONE | {"archives_can_be_published"}


@pytest.mark.long
def test_execute_of_a_check_sends_an_archive(deployment: Deployment) -> None:
    """As the UI does it; otherwise the rule above would be wrong."""
    deployment.succeed("complete_dump")
    job = deployment.sender_definitions().resolve_implicit_global_asset_job_def()
    check = dg.AssetCheckKey(dg.AssetKey(["partial", "archive"]), "acknowledged")
    alone = job.get_subset(asset_selection=frozenset(), asset_check_selection=frozenset([check]))
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        assert alone.execute_in_process(instance=instance).success
    assert len(list((deployment.spool / "partial").glob("NEW_*.tar"))) == 1
