"""Every selection of assets that is materialized at the receiver runs a whole load, or none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from ar_sync_pipeline.operations.asset_keys import (
    admitted_key,
    applied_archives_key,
    receiver_media_key,
)
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.load_specs import TABLES_GROUP
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import execute, rows

PARENT = dg.AssetKey(["receiver", "tables", "app_parent"])
CHILD = dg.AssetKey(["receiver", "tables", "app_child"])
LEDGER, MEDIA, ADMITTED = (
    applied_archives_key(ALONE),
    receiver_media_key(ALONE),
    admitted_key(ALONE),
)
CHECKS = {
    "archives_loaded": LEDGER, "digests_equal": LEDGER, "no_holes": LEDGER, "no_drift": LEDGER,
    "tables_sent": LEDGER, "free_space": LEDGER,
    "archives_sound": ADMITTED, "archives_fit_schema": ADMITTED,
}  # fmt: skip
SELECTIONS = {
    "one table": [PARENT],
    "another table": [CHILD],
    "media only": [MEDIA],
    "ledger only": [LEDGER],
    "a table and the ledger": [CHILD, LEDGER],
    "all but the ledger": [ADMITTED, MEDIA, PARENT, CHILD],
    "all but the admission": [MEDIA, PARENT, CHILD, LEDGER],
    "everything": [ADMITTED, MEDIA, PARENT, CHILD, LEDGER],
}
AMOUNTS = "SELECT id, amount FROM app_child ORDER BY id"


class Operator:
    """A user who selects assets in the UI of a receiver and presses *Materialize*."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        self.deployment = deployment
        self.instance = instance

    def materialize(self, selection: list[dg.AssetKey]) -> dg.ExecuteInProcessResult:
        job = self.deployment.receiver_definitions().resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance, asset_selection=selection, raise_on_error=False
        )

    def figures(self, key: dg.AssetKey) -> dict[str, Any]:
        event = self.instance.get_latest_materialization_event(key)
        assert event is not None, key
        assert event.asset_materialization is not None
        return {name: v.value for name, v in event.asset_materialization.metadata.items()}

    def verdict(self, name: str) -> bool:
        key = dg.AssetCheckKey(CHECKS[name], name)
        record = self.instance.get_latest_asset_check_evaluation_record(key)
        assert record is not None, name
        assert isinstance(record.evaluation, dg.AssetCheckEvaluation), name
        return record.evaluation.passed


@pytest.fixture
def operator(deployment: Deployment) -> Iterator[Operator]:
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        yield Operator(deployment, instance)


@pytest.mark.long
@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
def test_every_selection_admits_loads_and_reports_the_whole(
    operator: Operator, selection: list[dg.AssetKey]
) -> None:
    deployment = operator.deployment
    deployment.succeed("complete_dump")
    assert operator.materialize(selection).success
    assert rows(deployment.receiver_url, AMOUNTS) == rows(deployment.sender_url, AMOUNTS)
    assert (deployment.folder / "receiver_media" / "bus.jpeg").read_bytes() == b"picture"
    assert operator.figures(ADMITTED)["archives"] == 1
    assert operator.figures(CHILD)["rows_added"] == 300
    assert operator.figures(PARENT)["rows_added"] == 20
    assert operator.figures(MEDIA)["files_installed"] == 1
    assert operator.figures(LEDGER)["archives_applied"] == 1
    assert {name: operator.verdict(name) for name in CHECKS} == dict.fromkeys(CHECKS, True)


@pytest.mark.long
@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
def test_a_load_of_nothing_leaves_the_figures_of_the_last_one(
    operator: Operator, selection: list[dg.AssetKey]
) -> None:
    operator.deployment.succeed("complete_dump")
    operator.deployment.succeed("complete_loaddata")
    assert operator.materialize(selection).success
    assert operator.figures(CHILD)["rows_added"] == 300
    assert operator.figures(MEDIA)["files_installed"] == 1
    ledger = operator.figures(LEDGER)
    assert ledger["archives_applied"] == 0
    assert "rows_added" not in ledger
    assert ledger["not_applied"] == "none"


@pytest.mark.long
def test_the_admission_alone_verifies_and_the_next_load_applies(operator: Operator) -> None:
    deployment = operator.deployment
    deployment.succeed("complete_dump")
    assert operator.materialize([ADMITTED]).success
    assert operator.figures(ADMITTED)["archives"] == 1
    assert rows(deployment.receiver_url, AMOUNTS) == []
    assert operator.materialize([CHILD]).success
    assert rows(deployment.receiver_url, AMOUNTS) == rows(deployment.sender_url, AMOUNTS)


@pytest.mark.long
def test_an_archive_that_cannot_be_loaded_fails_the_run_of_one_table_with_its_reason(
    operator: Operator,
) -> None:
    deployment = operator.deployment
    deployment.succeed("complete_dump")
    (path,) = (deployment.spool / "complete").glob("NEW_*")
    path.write_bytes(path.read_bytes()[:-2000])
    result = operator.materialize([CHILD])
    assert not result.success
    assert not operator.verdict("archives_sound")
    assert operator.instance.get_latest_materialization_event(CHILD) is None
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data is not None


@pytest.mark.long
def test_the_group_of_the_tables_is_a_load(operator: Operator) -> None:
    deployment = operator.deployment
    graph = deployment.receiver_definitions().resolve_asset_graph()
    group = [k for k in graph.materializable_asset_keys if graph.get(k).group_name == TABLES_GROUP]
    assert len(group) == 2
    deployment.succeed("complete_dump")
    assert operator.materialize(group).success
    assert operator.figures(LEDGER)["archives_applied"] == 1


@pytest.mark.long
def test_a_table_of_which_an_archive_brings_nothing_is_not_shown_as_behind_it(
    operator: Operator,
) -> None:
    deployment = operator.deployment
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    execute(
        deployment.sender_url,
        "UPDATE app_child SET amount = 7, changed = now() - interval '7 minutes' WHERE id < 3",
    )
    deployment.succeed("partial_dump")
    deployment.succeed("partial_loaddata")
    deployment.succeed("complete_dump")
    graph = deployment.receiver_definitions().resolve_asset_graph()
    context = LoadingContextForTest(operator.instance)
    resolver = CachingStaleStatusResolver(operator.instance, graph, context)
    statuses = {key: resolver.get_status(key) for key in graph.materializable_asset_keys}
    assert {key for key, status in statuses.items() if status is StaleStatus.STALE} == set()
