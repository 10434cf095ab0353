"""What the UI shows of an asset's other checks while a run materializes the asset."""

import gc
from collections.abc import Iterator
from contextlib import suppress

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from ar_sync_pipeline.operations import selected_outputs
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


@pytest.mark.parametrize(
    "error",
    [dg.Failure("no database"), RuntimeError("a defect"), DagsterExecutionInterruptedError()],
    ids=["failure", "defect", "canceled"],
)
def test_a_run_that_fails_in_its_first_step_hides_no_finding_of_later_steps(
    error: Exception,
) -> None:
    failing = False

    @dg.multi_asset(
        specs=[dg.AssetSpec("admitted")],
        check_specs=[dg.AssetCheckSpec("sound", asset="admitted")],
        can_subset=True,
    )
    @whatever_is_selected
    def admit(_context: dg.AssetExecutionContext) -> Iterator[Result]:
        yield dg.AssetCheckResult(
            asset_key="admitted", check_name="sound", passed=not failing, description=f"{failing}"
        )
        if failing:
            raise error
        yield dg.MaterializeResult(asset_key="admitted")

    @dg.multi_asset(
        specs=[dg.AssetSpec(ASSET, deps=["admitted"])],
        check_specs=[dg.AssetCheckSpec(CHECK.name, asset=ASSET)],
        can_subset=True,
    )
    @whatever_is_selected
    def load(_context: dg.AssetExecutionContext) -> Iterator[Result]:
        yield dg.AssetCheckResult(
            asset_key=ASSET, check_name=CHECK.name, passed=False, description="found before"
        )
        yield dg.MaterializeResult(asset_key=ASSET)

    definitions = dg.Definitions(assets=[admit, load], jobs=[dg.define_asset_job("job")])
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_job_def("job")
        assert job.execute_in_process(instance=instance).success
        failing = True
        with suppress(DagsterExecutionInterruptedError):
            assert not job.execute_in_process(instance=instance, raise_on_error=False).success
        assert shown(instance) == (False, "found before")
        sound = shown_evaluation(instance, dg.AssetCheckKey(dg.AssetKey("admitted"), "sound"))
        assert sound is not None
        assert sound.description == "True", "what the failed step found itself is newer"


def test_step_that_dagster_leaves_deletes_nothing_when_it_is_disposed_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That may be while a later step of the run is at work, in any line of any code."""
    forgotten = list[str]()
    monkeypatch.setattr(selected_outputs, "forget_planned", lambda _, run: forgotten.append(run))

    @dg.multi_asset(specs=[dg.AssetSpec(ASSET)], can_subset=True)
    @whatever_is_selected
    def load(_context: dg.AssetExecutionContext) -> Iterator[Result]:
        yield dg.MaterializeResult(asset_key=ASSET)
        yield dg.MaterializeResult(asset_key=ASSET)

    outcome = dg.materialize([load], raise_on_error=False)
    assert not outcome.success, "Dagster refuses the second result"
    gc.collect()
    assert forgotten == []
