"""What the receiver lacks is sent by itself: real jobs, a real sensor."""

from __future__ import annotations

import dagster as dg
import psycopg
import pytest

from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import CHILDREN, rows


def tick(deployment: Deployment) -> dg.RunRequest | dg.SkipReason:
    sensor = deployment.sender_definitions().resolve_sensor_def("complete_for_receiver")
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        answer = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(answer, dg.RunRequest | dg.SkipReason)
    return answer


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
    assert request.run_key == f"lacking_{parked.name.applied}"

    deployment.succeed("complete_dump")
    assert isinstance(tick(deployment), dg.SkipReason)
    deployment.succeed("complete_loaddata")
    assert rows(deployment.sender_url, CHILDREN) == rows(deployment.receiver_url, CHILDREN)


@pytest.mark.long
def test_requests_within_a_day_are_limited(deployment: Deployment) -> None:
    """A receiver that says of every complete that it lacks something."""
    job = deployment.sender_definitions().resolve_job_def("complete_dump")
    tags = {"ar_sync/requested_by": "complete_for_receiver"}
    for job_name in ("complete_dump", "complete_loaddata"):
        deployment.succeed(job_name)
    with psycopg.connect(deployment.receiver_url) as connection:
        connection.execute("UPDATE app_child SET amount = -1 WHERE id = 7")
    deployment.succeed("complete_dump")
    deployment.run("complete_loaddata")
    deployment.succeed("partial_dump")
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        for number in range(4):
            assert isinstance(tick(deployment), dg.RunRequest), number
            run = instance.create_run_for_job(job, tags=tags)
            instance.report_run_canceled(run)
    answer = tick(deployment)
    assert isinstance(answer, dg.SkipReason)
    assert "4 completes were requested within a day" in str(answer.skip_message)


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
