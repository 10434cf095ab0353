"""Windows without an archive: what is a gap, and what is about to be filled."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline.operations.check_evaluation import unchanged_since
from ar_sync_pipeline.operations.pair_names import SIDE_TAG
from ar_sync_pipeline.operations.windows import window_partitions
from ar_sync_pipeline.sender.window_check import check_for_gaps
from ar_sync_pipeline_tests.alerts.operation import MINUTES, NO_GAP, Operation
from ar_sync_pipeline_tests.fix_dagster import stop_schedule
from ar_sync_pipeline_tests.fix_sites import execute

UNDER_WAY: dict[str, Callable[[dg.DagsterInstance, dg.JobDefinition], object]] = {
    "queued": lambda instance, job: instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.NOT_STARTED
    ),
    "at work": lambda instance, job: instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED
    ),
    "asked for by a backfill": lambda instance, _: instance.add_backfill(
        PartitionBackfill(
            "of_operator",
            BulkActionStatus.REQUESTED,
            from_failure=False,
            tags={},
            backfill_timestamp=datetime.now(UTC).timestamp(),
            asset_selection=[NO_GAP.asset_key],
        )
    ),
}


OF_OTHERS = {
    "ssh_sftp_checker": {SIDE_TAG: "sender"},
    "complete_dump": {SIDE_TAG: "sender"},
    "partial_loaddata": {SIDE_TAG: "receiver"},
    "lima_partial_dump": {SIDE_TAG: "lima_sender"},
}


@pytest.mark.long
def test_sender_that_has_just_started_lacks_no_window(operation: Operation) -> None:
    operation.tick()
    operation.tick(2 * MINUTES)
    assert operation.found(NO_GAP).passed
    assert [one for one in operation.subjects if "no_gap" in one] == []


def gaps(operation: Operation) -> list[str]:
    return [subject for subject in operation.subjects if "no_gap_in_windows" in subject]


@pytest.mark.long
@pytest.mark.parametrize("midnight", ["2026-04-05T03:00", "2026-09-06T04:00"])
def test_windows_go_on_where_local_clocks_change(operation: Operation, midnight: str) -> None:
    """In America/Santiago the hour before midnight came twice, or the one after it never."""
    operation.now = datetime.fromisoformat(midnight).replace(tzinfo=UTC) - 20 * MINUTES
    for _ in range(16):
        operation.dumped(timedelta(0))
        operation.tick()
        assert operation.found(NO_GAP).passed, operation.now
        operation.now += 5 * MINUTES
    assert gaps(operation) == []


@pytest.mark.long
def test_sender_that_was_off_for_a_night_has_time_to_catch_up(operation: Operation) -> None:
    operation.dumped(timedelta(hours=9))
    operation.tick()
    assert not operation.found(NO_GAP).passed
    operation.tick(5 * MINUTES)
    assert gaps(operation) == []
    operation.watch(10 * MINUTES)
    (subject,) = gaps(operation)
    assert "windows have no archive" in subject


@pytest.mark.long
@pytest.mark.parametrize("how", UNDER_WAY)
def test_windows_that_a_run_is_about_to_fill_are_no_gap(operation: Operation, how: str) -> None:
    operation.dumped(50 * MINUTES)
    job = operation.watched.definitions("sender").resolve_job_def("partial_dump")
    with operation.watched.instance() as instance:
        UNDER_WAY[how](instance, job)
    operation.tick()
    # A backfill that has no run after ten minutes starts none.
    operation.watch((5 if "backfill" in how else 30) * MINUTES)
    found = operation.found(NO_GAP)
    assert found.passed
    assert "windows have no archive" in str(found.description)
    assert " or the next one takes them along" in str(found.description)
    assert gaps(operation) == []


@pytest.mark.long
def test_windows_that_passed_during_a_long_run_are_left_to_the_next_one(
    operation: Operation,
) -> None:
    operation.dumped(50 * MINUTES)
    operation.dumped(2 * MINUTES)
    operation.tick()
    assert operation.found(NO_GAP).passed
    assert "The next run takes them along" in str(operation.found(NO_GAP).description)


def end_run(
    operation: Operation,
    job: str,
    status: dg.DagsterRunStatus,
    of_assets: frozenset[dg.AssetKey] | None = None,
    /,
    **tags: str,
) -> None:
    """A run of a job of any pair ends now."""
    ends = {
        dg.DagsterRunStatus.SUCCESS: dg.DagsterEventType.RUN_SUCCESS,
        dg.DagsterRunStatus.FAILURE: dg.DagsterEventType.RUN_FAILURE,
        dg.DagsterRunStatus.CANCELED: dg.DagsterEventType.RUN_CANCELED,
    }
    with time_machine.travel(operation.now, tick=False), operation.watched.instance() as instance:
        run = create_run_for_test(
            instance,
            job_name=job,
            status=dg.DagsterRunStatus.STARTED,
            tags=tags,
            asset_selection=of_assets,
        )
        event = dg.DagsterEvent(ends[status].value, job_name=job)
        instance.report_dagster_event(event, run.run_id)


@pytest.mark.parametrize("job", OF_OTHERS)
@pytest.mark.long
def test_success_of_another_job_fills_no_window_of_a_stopped_schedule(
    operation: Operation, job: str
) -> None:
    operation.dumped(50 * MINUTES)
    end_run(operation, job, dg.DagsterRunStatus.SUCCESS, **OF_OTHERS[job])
    operation.tick()
    found = operation.found(NO_GAP)
    assert not found.passed, found.description


def test_success_of_the_job_itself_leaves_later_windows_to_the_next_run(
    operation: Operation,
) -> None:
    operation.dumped(50 * MINUTES)
    end_run(operation, "partial_dump", dg.DagsterRunStatus.SUCCESS)
    operation.tick()
    assert operation.found(NO_GAP).passed


@pytest.mark.long
def test_run_that_a_person_has_just_canceled_leaves_its_windows_to_the_next_run(
    operation: Operation,
) -> None:
    operation.dumped(50 * MINUTES)
    end_run(operation, "partial_dump", dg.DagsterRunStatus.CANCELED)
    operation.tick(3 * MINUTES)
    assert operation.found(NO_GAP).passed
    assert "The next run takes them along" in str(operation.found(NO_GAP).description)
    operation.tick(8 * MINUTES)
    assert not operation.found(NO_GAP).passed


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE])
@pytest.mark.long
def test_backfill_that_has_just_ended_leaves_the_windows_of_its_time_to_the_next_run(
    operation: Operation, status: dg.DagsterRunStatus
) -> None:
    """The schedule starts nothing while it is at work, for twenty minutes over a slow link."""
    operation.dumped(50 * MINUTES)
    end_run(operation, IMPLICIT_ASSET_JOB_NAME, status, frozenset({NO_GAP.asset_key}))
    operation.tick(3 * MINUTES)
    assert operation.found(NO_GAP).passed
    assert "The next run takes them along" in str(operation.found(NO_GAP).description)
    operation.tick(8 * MINUTES)
    assert not operation.found(NO_GAP).passed


@pytest.mark.long
def test_run_by_hand_of_other_assets_fills_no_window(operation: Operation) -> None:
    operation.dumped(50 * MINUTES)
    other = frozenset({dg.AssetKey("receiver_endpoint")})
    for status in (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.SUCCESS):
        end_run(operation, IMPLICIT_ASSET_JOB_NAME, status, other)
    operation.tick(3 * MINUTES)
    assert not operation.found(NO_GAP).passed


def test_backfill_that_was_canceled_with_the_schedule_stopped_leaves_a_gap(
    operation: Operation,
) -> None:
    operation.dumped(50 * MINUTES)
    windows = frozenset({NO_GAP.asset_key})
    end_run(operation, IMPLICIT_ASSET_JOB_NAME, dg.DagsterRunStatus.CANCELED, windows)
    with operation.watched.instance() as instance:
        stop_schedule(instance, "partial_dump_schedule")
    operation.tick(MINUTES)
    assert not operation.found(NO_GAP).passed


@pytest.mark.long
def test_run_that_was_canceled_with_its_schedule_stopped_leaves_a_gap(
    operation: Operation,
) -> None:
    operation.dumped(50 * MINUTES)
    end_run(operation, "partial_dump", dg.DagsterRunStatus.CANCELED)
    with operation.watched.instance() as instance:
        stop_schedule(instance, "partial_dump_schedule")
    operation.tick(MINUTES)
    assert not operation.found(NO_GAP).passed


@pytest.mark.parametrize("job", OF_OTHERS)
@pytest.mark.long
def test_success_of_another_job_does_not_hide_that_runs_have_failed(
    operation: Operation, job: str
) -> None:
    operation.dumped(50 * MINUTES)
    end_run(operation, "partial_dump", dg.DagsterRunStatus.FAILURE)
    operation.now += MINUTES
    end_run(operation, job, dg.DagsterRunStatus.SUCCESS, **OF_OTHERS[job])
    operation.tick()
    found = operation.found(NO_GAP)
    assert "The last run of partial_dump has failed." in str(found.description)


def test_no_first_run_is_waited_for_while_the_schedule_is_stopped(operation: Operation) -> None:
    installed = operation.now - 60 * MINUTES
    windows = window_partitions(operation.now, days_back=14, interval_minutes=5, first=installed)
    with operation.watched.instance() as instance:
        waits = check_for_gaps(operation.sender(), windows, instance).result
        assert waits.passed
        assert "The first run takes them along" in str(waits.description)
        stop_schedule(instance, "partial_dump_schedule")
        assert not check_for_gaps(operation.sender(), windows, instance).result.passed


@pytest.mark.long
def test_list_of_missing_windows_that_grows_and_shrinks_is_shown_as_it_is(
    operation: Operation,
) -> None:
    operation.dumped(30 * MINUTES)
    operation.tick()
    before = operation.found(NO_GAP)
    operation.tick(5 * MINUTES)
    after = operation.found(NO_GAP)
    assert (
        after.metadata["missing_windows"].value == before.metadata["missing_windows"].value + 1  # type: ignore[operator]
    )
    assert after.description != before.description
    assert not after.passed
    assert unchanged_since(after) == unchanged_since(before), "it is the same gap"
    operation.tick(13 * 60 * MINUTES)
    operation.tick(5 * MINUTES)
    longer = operation.found(NO_GAP)
    assert unchanged_since(longer) == unchanged_since(before), "it began before the horizon"
    operation.dumped(10 * MINUTES)
    operation.tick(15 * MINUTES)
    assert unchanged_since(operation.found(NO_GAP)) != unchanged_since(before), "another gap"


@pytest.mark.long
def test_gap_sends_no_second_mail_in_addition_to_that_of_the_failed_runs(
    operation: Operation,
) -> None:
    operation.dumped(60 * MINUTES)
    execute(operation.watched.deployment.sender_url, "ALTER TABLE app_child DROP changed CASCADE")
    assert not operation.watched.run("partial_dump").succeeded
    operation.tick()
    operation.watch(35 * MINUTES)
    assert not operation.found(NO_GAP).passed
    assert "The last run of partial_dump has failed." in str(operation.found(NO_GAP).description)
    assert gaps(operation) == []
    assert [subject for subject in operation.subjects if "[ar_sync sender] Failing" in subject]


@pytest.mark.long
def test_gap_is_mailed_when_failed_runs_are_followed_by_silence(operation: Operation) -> None:
    """The schedule requests nothing any more, for whatever reason: the pauses are half an hour."""
    operation.dumped(60 * MINUTES)
    end_run(operation, "partial_dump", dg.DagsterRunStatus.FAILURE)
    operation.tick()
    operation.watch(35 * MINUTES)
    assert gaps(operation) == []
    operation.watch(10 * MINUTES)
    (subject,) = gaps(operation)
    assert "windows have no archive" in subject


def find_gap_then_work(operation: Operation) -> None:
    """Let a gap be mailed; then a run begins."""
    operation.dumped(50 * MINUTES)
    operation.tick()
    operation.watch(20 * MINUTES)
    assert len(gaps(operation)) == 1
    job = operation.watched.definitions("sender").resolve_job_def("partial_dump")
    with operation.watched.instance() as instance:
        UNDER_WAY["at work"](instance, job)


@pytest.mark.long
def test_gap_that_was_found_is_over_when_its_windows_have_archives(operation: Operation) -> None:
    """Not when a run begins: it may fail, like those before it, or be of another window."""
    find_gap_then_work(operation)
    operation.watch(10 * MINUTES)
    found = operation.found(NO_GAP)
    assert not found.passed
    assert " or the next one is to take them along." in str(found.description)
    assert len(gaps(operation)) == 1, "neither a second mail nor a recovery"


@pytest.mark.long
def test_gap_is_over_although_later_windows_are_on_their_way(operation: Operation) -> None:
    """Over a slow link a run ends when the next windows are over already."""
    find_gap_then_work(operation)
    for late in range(75, 12, -5):
        operation.dumped(late * MINUTES)
    for _ in range(3):
        operation.now += 5 * MINUTES
        operation.dumped(16 * MINUTES)
        operation.tick()
    assert operation.found(NO_GAP).passed
    assert len(gaps(operation)) == 2, "it has recovered"


@pytest.mark.long
def test_first_failed_run_that_is_executed_again_ends_no_longer_gap(operation: Operation) -> None:
    operation.dumped(50 * MINUTES)
    end_run(operation, "partial_dump", dg.DagsterRunStatus.FAILURE)
    operation.tick()
    operation.watch(30 * MINUTES)
    for late in range(80, 40, -5):
        operation.dumped(late * MINUTES)
    end_run(operation, "partial_dump", dg.DagsterRunStatus.SUCCESS)
    operation.tick(MINUTES)
    found = operation.found(NO_GAP)
    assert not found.passed
    assert "The next run is to take them along" in str(found.description)


@pytest.mark.long
def test_run_that_follows_failed_ones_is_no_excuse(operation: Operation) -> None:
    operation.dumped(50 * MINUTES)
    end_run(operation, "partial_dump", dg.DagsterRunStatus.FAILURE)
    job = operation.watched.definitions("sender").resolve_job_def("partial_dump")
    with operation.watched.instance() as instance:
        UNDER_WAY["at work"](instance, job)
    operation.tick()
    found = operation.found(NO_GAP)
    assert not found.passed
    assert "The last run of partial_dump has failed. Run " in str(found.description)


@pytest.mark.long
def test_stopped_schedule_is_named_with_the_gap_that_it_leaves(operation: Operation) -> None:
    operation.dumped(50 * MINUTES)
    with operation.watched.instance() as instance:
        stop_schedule(instance, "partial_dump_schedule")
    operation.tick()
    found = operation.found(NO_GAP)
    assert str(found.description).endswith("The schedule partial_dump_schedule is stopped.")
    assert str(found.metadata["remedy"].value).startswith("switch the schedule")


@pytest.mark.long
def test_gap_is_mailed_when_the_schedule_was_stopped_after_a_failed_run(
    operation: Operation,
) -> None:
    operation.dumped(60 * MINUTES)
    end_run(operation, "partial_dump", dg.DagsterRunStatus.FAILURE)
    with operation.watched.instance() as instance:
        stop_schedule(instance, "partial_dump_schedule")
    operation.tick()
    operation.watch(15 * MINUTES)
    assert len(gaps(operation)) == 1
