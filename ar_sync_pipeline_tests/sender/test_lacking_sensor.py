"""What the receiver lacks is sent by itself: real jobs, a real sensor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest
import time_machine

from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import CHILDREN, rows


def tick(deployment: Deployment) -> dg.RunRequest | dg.SkipReason:
    sensor = deployment.sender_definitions().resolve_sensor_def("complete_for_receiver")
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        answer = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(answer, dg.RunRequest | dg.SkipReason)
    return answer


def daemon_runs(
    deployment: Deployment, request: dg.RunRequest, ends: dg.DagsterEventType
) -> dg.DagsterRun:
    """Make the run of a request as the daemon does, unless a run has its key; let it end so."""
    job = deployment.sender_definitions().resolve_job_def("complete_dump")
    tags = {**request.tags, "dagster/run_key": str(request.run_key)}
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        known = dg.RunsFilter(tags={"dagster/run_key": str(request.run_key)})
        assert not instance.get_runs(known), "the daemon skips it"
        run = instance.create_run_for_job(job, tags=tags)
        instance.report_dagster_event(dg.DagsterEvent(ends.value, job_name=job.name), run.run_id)
    return run


def edit_the_receiver(deployment: Deployment) -> None:
    """Make the receiver lack what the newest complete does not carry; the sender knows it."""
    for job_name in ("complete_dump", "complete_loaddata"):
        deployment.succeed(job_name)
    with psycopg.connect(deployment.receiver_url) as connection:
        connection.execute("UPDATE app_child SET amount = -1 WHERE id = 7")
    deployment.succeed("complete_dump")
    deployment.run("complete_loaddata")
    deployment.succeed("partial_dump")


def size_of_newest(deployment: Deployment) -> int:
    files = (deployment.spool / "complete").iterdir()
    return max(files, key=lambda file: file.name.removeprefix("NEW_")).stat().st_size


def change_a_child(deployment: Deployment) -> None:
    with psycopg.connect(deployment.sender_url) as connection:
        connection.execute(
            "UPDATE app_child SET amount = amount + 1, changed = clock_timestamp() WHERE id = 7"
        )


@pytest.mark.long
def test_complete_is_requested_once_for_an_edited_receiver(deployment: Deployment) -> None:
    for job in ("complete_dump", "complete_loaddata"):
        deployment.succeed(job)
    assert isinstance(tick(deployment), dg.SkipReason)
    whole = size_of_newest(deployment)

    with psycopg.connect(deployment.receiver_url) as connection:
        connection.execute("UPDATE app_child SET amount = -1 WHERE id = 7")
    deployment.succeed("complete_dump")
    assert size_of_newest(deployment) < whole
    (failure,) = deployment.run("complete_loaddata").failures
    assert "does not carry what this receiver lacks (1 chunk of app_child)" in failure
    (parked,) = list_parked(deployment.spool)

    # The next partial reads the receipt.
    deployment.succeed("partial_dump")
    request = tick(deployment)
    assert isinstance(request, dg.RunRequest)
    assert str(request.run_key).startswith(f"lacking_{parked.name.applied}_")
    assert tick(deployment) == request, "until there is a run"

    deployment.succeed("complete_dump")
    assert isinstance(tick(deployment), dg.SkipReason)
    deployment.succeed("complete_loaddata")
    assert rows(deployment.sender_url, CHILDREN) == rows(deployment.receiver_url, CHILDREN)


@pytest.mark.long
def test_requests_within_a_day_are_limited(deployment: Deployment) -> None:
    """A receiver that says of every complete that it lacks something."""
    edit_the_receiver(deployment)
    for number in range(4):
        request = tick(deployment)
        assert isinstance(request, dg.RunRequest), number
        daemon_runs(deployment, request, dg.DagsterEventType.RUN_CANCELED)
    answer = tick(deployment)
    assert isinstance(answer, dg.SkipReason)
    assert "4 completes were requested within a day" in str(answer.skip_message)
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=25)):
        request = tick(deployment)
        assert isinstance(request, dg.RunRequest), "also without another complete meanwhile"
        daemon_runs(deployment, request, dg.DagsterEventType.RUN_CANCELED)


@pytest.mark.long
def test_failed_complete_is_requested_again_after_pauses_that_grow(deployment: Deployment) -> None:
    """The link may be down for longer than a few attempts take."""
    edit_the_receiver(deployment)
    now = datetime.now(UTC)
    for minutes in (4, 8, 16, 32, 64, 120, 120):
        with time_machine.travel(now):
            request = tick(deployment)
            assert isinstance(request, dg.RunRequest), minutes
            daemon_runs(deployment, request, dg.DagsterEventType.RUN_FAILURE)
        with time_machine.travel(now + timedelta(minutes=minutes - 1)):
            answer = tick(deployment)
        assert isinstance(answer, dg.SkipReason)
        assert "failed, see the last one; again at" in str(answer.skip_message)
        now += timedelta(minutes=minutes + 1)
    with time_machine.travel(now):
        assert isinstance(tick(deployment), dg.RunRequest)


@pytest.mark.long
def test_failures_by_a_clock_that_was_ahead_postpone_no_request(deployment: Deployment) -> None:
    edit_the_receiver(deployment)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=2)):
        request = tick(deployment)
        assert isinstance(request, dg.RunRequest)
        daemon_runs(deployment, request, dg.DagsterEventType.RUN_FAILURE)
    again = tick(deployment)
    assert isinstance(again, dg.RunRequest)
    daemon_runs(deployment, again, dg.DagsterEventType.RUN_FAILURE)
    answer = tick(deployment)
    assert isinstance(answer, dg.SkipReason)
    assert "1 run has failed" in str(answer.skip_message)


@pytest.mark.long
def test_complete_is_requested_once_for_a_table_that_ddl_at_the_receiver_changed(
    deployment: Deployment,
) -> None:
    for job in ("complete_dump", "complete_loaddata"):
        deployment.succeed(job)
    with psycopg.connect(deployment.receiver_url) as connection:
        connection.execute("ALTER TABLE app_child DROP COLUMN picture")
        connection.execute("ALTER TABLE app_child ADD COLUMN picture text DEFAULT ''")
    change_a_child(deployment)
    for job in ("partial_dump", "partial_loaddata"):
        deployment.run(job)
    assert isinstance(tick(deployment), dg.SkipReason)  # The sender has not read it yet.

    change_a_child(deployment)
    deployment.succeed("partial_dump")
    request = tick(deployment)
    assert isinstance(request, dg.RunRequest)
    assert str(request.run_key).startswith("unverified_backup_complete_")
    assert tick(deployment) == request

    deployment.succeed("complete_dump")
    assert isinstance(tick(deployment), dg.SkipReason)  # It is on its way.
    deployment.succeed("complete_loaddata")
    assert rows(deployment.sender_url, CHILDREN) == rows(deployment.receiver_url, CHILDREN)
    deployment.succeed("partial_dump")
    assert isinstance(tick(deployment), dg.SkipReason)


@pytest.mark.long
def test_complete_is_requested_once_for_one_in_quarantine(deployment: Deployment) -> None:
    for job in ("complete_dump", "complete_loaddata"):
        deployment.succeed(job)
    quarantine_the_next_complete(deployment)
    request = tick(deployment)
    assert isinstance(request, dg.RunRequest)
    assert str(request.run_key).startswith("quarantined_backup_complete_")
    # Another one does not help where the two sides do not match.
    quarantine_the_next_complete(deployment)
    assert isinstance(tick(deployment), dg.SkipReason)


def quarantine_the_next_complete(deployment: Deployment) -> None:
    """Let the receiver refuse a complete; the sender knows it."""
    change_a_child(deployment)
    deployment.succeed("complete_dump")
    (path,) = (deployment.spool / "complete").glob("NEW_*")
    path.write_bytes(path.read_bytes()[:-2000])
    deployment.run("complete_loaddata")
    deployment.succeed("partial_dump")
