"""Schedules of the same name in several code locations are told apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline.operations.repository_id import repository_of_run
from ar_sync_pipeline.operations.runs.run_state import is_stopped
from ar_sync_pipeline_tests.fix_dagster import stop_schedule

SCHEDULE = "partial_dump_schedule"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def repository(instance: dg.DagsterInstance, location: str) -> str | None:
    """Return the repository of a run that a code location has started."""
    tags = {".dagster/repository": f"__repository__@{location}"}
    return repository_of_run(create_run_for_test(instance, tags=tags))


def test_schedule_that_was_stopped_in_a_former_code_location_is_not_stopped(
    instance: dg.DagsterInstance,
) -> None:
    stop_schedule(instance, SCHEDULE, "former")
    assert is_stopped(instance, SCHEDULE, repository(instance, "former"))
    assert not is_stopped(instance, SCHEDULE, repository(instance, "sender"))
    stop_schedule(instance, SCHEDULE, "sender")
    assert is_stopped(instance, SCHEDULE, repository(instance, "sender"))


def test_without_a_code_location_all_count(instance: dg.DagsterInstance) -> None:
    assert repository_of_run(create_run_for_test(instance)) is None
    stop_schedule(instance, SCHEDULE, "former")
    assert is_stopped(instance, SCHEDULE, None)
