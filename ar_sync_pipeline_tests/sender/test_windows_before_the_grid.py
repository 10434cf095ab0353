"""A code server that has run for long offers windows that the grid of a run no longer has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from ar_sync_pipeline.operations.windows import KEY_FORMAT
from ar_sync_pipeline_tests.fix_dagster import Deployment


@pytest.mark.parametrize("kind", ["range", "one window"])
def test_window_or_range_before_the_grid_fails_before_anything_is_dumped(
    deployment: Deployment, kind: str
) -> None:
    installed = datetime.now(UTC) - timedelta(days=2)  # by the fixture
    start = (installed - timedelta(days=1)).replace(minute=0)
    tags = {
        "dagster/asset_partition_range_start": start.strftime(KEY_FORMAT),
        "dagster/asset_partition_range_end": (start + timedelta(minutes=5)).strftime(KEY_FORMAT),
    }
    if kind == "one window":
        tags = {"dagster/partition": start.strftime(KEY_FORMAT)}
    job = deployment.sender_definitions().resolve_job_def("partial_dump")
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        result = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    (failed,) = (event.step_failure_data for event in result.get_step_failure_events())
    failure = failed.user_failure_data
    assert failure is not None, failed.error
    assert f"range begins at {start:%Y-%m-%d %H:%M} UTC" in str(failure.description)
    assert "choose windows from then on" in str(failure.description)
    assert list((deployment.spool / "partial").iterdir()) == []
