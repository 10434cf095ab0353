"""A run over the open window: what it waits for, and what it sends then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.windows import KEY_FORMAT
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import execute

KEY = archive_key(ArchiveKind.PARTIAL, ALONE)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def quick(deployment: Deployment) -> Deployment:
    deployment.sender_changes |= {"AR_SYNC_PARTIAL_INTERVAL": "1", "AR_SYNC_TIME": "3"}
    return deployment


@pytest.fixture
def end() -> Iterator[datetime]:
    """Return the end of the open window, a few seconds from now."""
    now = datetime.now(UTC)
    coming = now.replace(second=0, microsecond=0) + MINUTE
    with time_machine.travel(coming - timedelta(seconds=15)):
        yield coming


def run_over_open_window(
    deployment: Deployment, instance: dg.DagsterInstance, end: datetime, windows: int = 1
) -> dg.ExecuteInProcessResult:
    job = deployment.sender_definitions().resolve_job_def("partial_dump")
    tags = {
        "dagster/asset_partition_range_start": (end - windows * MINUTE).strftime(KEY_FORMAT),
        "dagster/asset_partition_range_end": (end - MINUTE).strftime(KEY_FORMAT),
    }
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def sent_manifest(deployment: Deployment) -> Manifest:
    (archive,) = (deployment.spool / "partial").iterdir()
    with open_archive(archive) as reader:
        return reader.manifest


@pytest.mark.long
def test_snapshot_is_taken_when_the_window_has_ended(quick: Deployment, end: datetime) -> None:
    with dg.DagsterInstance.from_config(str(quick.home)) as instance:
        result = run_over_open_window(quick, instance, end)
        assert result.success
        manifest = sent_manifest(quick)
        assert manifest.window is not None
        assert (manifest.window.start, manifest.window.end) == (end - MINUTE, end)
        assert end <= manifest.snapshot_at < end + timedelta(seconds=30)
        logged = [event.user_message for event in instance.all_logs(result.run_id)]
        assert any(text.startswith(f"Waiting until {end:%H:%M:%S} UTC") for text in logged)


@pytest.mark.long
def test_windows_before_it_are_in_the_same_archive(quick: Deployment, end: datetime) -> None:
    execute(quick.sender_url, "UPDATE app_child SET amount = amount + 1 WHERE id < 9")
    with dg.DagsterInstance.from_config(str(quick.home)) as instance:
        assert run_over_open_window(quick, instance, end, windows=3).success
        records = instance.fetch_materializations(KEY, limit=10).records
        assert {record.partition_key for record in records} == {
            (end - number * MINUTE).strftime(KEY_FORMAT) for number in (1, 2, 3)
        }
    manifest = sent_manifest(quick)
    assert manifest.window is not None
    assert (manifest.window.start, manifest.window.end) == (end - 3 * MINUTE, end)


@pytest.mark.long
def test_window_that_ends_much_later_fails_with_one_sentence(
    quick: Deployment, end: datetime
) -> None:
    with dg.DagsterInstance.from_config(str(quick.home)) as instance:
        result = run_over_open_window(quick, instance, end + timedelta(hours=1))
        assert not result.success
        (failed,) = [event for event in result.all_events if event.is_step_failure]
        failure = failed.step_failure_data.user_failure_data
        assert failure is not None
        assert "it was set back" in str(failure.description)
    assert list((quick.spool / "partial").iterdir()) == []
