"""What the UI shows of an asset's other checks while a run materializes the asset."""

from collections.abc import Iterator

import dagster as dg
import pytest

from ar_sync_pipeline.operations.check_history import newest_target, shown_evaluation
from ar_sync_pipeline.operations.selected_outputs import Result, whatever_is_selected

ASSET = dg.AssetKey("ledger")
CHECK = dg.AssetCheckKey(ASSET, "up_to_date")


def finding_of_a_sensor(instance: dg.DagsterInstance, *, passed: bool) -> None:
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=ASSET,
            check_name=CHECK.name,
            passed=passed,
            metadata={"lag_seconds": 61},
            description="found by the sensor",
            target_materialization_data=newest_target(instance, ASSET),
        )
    )


def shown(instance: dg.DagsterInstance) -> tuple[bool, str | None]:
    evaluation = shown_evaluation(instance, CHECK)
    assert evaluation is not None, "the UI says Not evaluated"
    return evaluation.passed, evaluation.description


@pytest.mark.parametrize("passed", [True, False])
def test_a_materialization_does_not_hide_what_a_sensor_found_during_the_run(passed: bool) -> None:
    seen = []

    @dg.multi_asset(specs=[dg.AssetSpec(ASSET)], can_subset=True)
    @whatever_is_selected
    def load(context: dg.AssetExecutionContext) -> Iterator[Result]:
        finding_of_a_sensor(context.instance, passed=passed)
        yield dg.MaterializeResult(asset_key=ASSET)

    @dg.asset_check(asset=ASSET, name=CHECK.name)
    def up_to_date(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        seen.append(shown(context.instance))
        return dg.AssetCheckResult(passed=True, description="found by the run")

    with dg.DagsterInstance.ephemeral() as instance:
        job = dg.Definitions(
            assets=[load], asset_checks=[up_to_date], jobs=[dg.define_asset_job("job")]
        ).resolve_job_def("job")
        for _ in range(2):
            assert job.execute_in_process(instance=instance).success
            assert shown(instance) == (True, "found by the run")
    assert seen == [(passed, "found by the sensor")] * 2
