"""A run by hand is work of the kind whose assets it makes, whatever the user selected in the UI."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest
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
) -> dg.DagsterRun:
    """Create a run as the UI does: only checks are selected by an empty selection of assets."""
    run: dg.DagsterRun = create_run_for_test(
        instance,
        IMPLICIT_ASSET_JOB_NAME,
        asset_selection=frozenset(assets or []),
        asset_check_selection=frozenset(checks) if checks else None,
    )
    start = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
    instance.report_dagster_event(start, run.run_id)
    return run


def works_under_way(instance: dg.DagsterInstance) -> list[dg.AssetKey]:
    now = datetime.now(UTC)
    found = [key for key in WORKS if work_under_way(instance, "some_job", key, now)]
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
