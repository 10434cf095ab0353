"""When the schedule of completes requests a run."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline_tests.fix_dagster import Deployment


def tick(deployment: Deployment, instance: dg.DagsterInstance) -> object:
    schedule = deployment.sender_definitions().resolve_schedule_def("complete_dump_schedule")
    now = datetime.now(UTC)
    with dg.build_schedule_context(instance, scheduled_execution_time=now) as context:
        return schedule(context)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_no_complete_is_requested_while_another_one_is_under_way(
    deployment: Deployment, status: dg.DagsterRunStatus
) -> None:
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        assert isinstance(tick(deployment, instance), dg.RunRequest)
        run = create_run_for_test(instance, job_name="complete_dump", status=status)
        answer = tick(deployment, instance)
        assert isinstance(answer, dg.SkipReason)
        assert f"Run {run.run_id} is still at work" in str(answer.skip_message)
        instance.report_run_canceled(run)
        assert isinstance(tick(deployment, instance), dg.RunRequest)
