"""Workers, servers and whole machines that die in the middle: everything heals by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg

from ar_sync_pipeline_tests.fix_live_instance import LiveInstance
from ar_sync_pipeline_tests.fix_sites import execute, rows

CHILDREN = "SELECT id, parent_id, changed, amount, picture FROM app_child ORDER BY id"
APPLIED = "SELECT count(*) FROM ar_sync.applied_archive"
LAUNCH = """
mutation ($job: String!, $tags: [ExecutionTag!]!) {
  launchPipelineExecution(executionParams: {
    selector: {repositoryLocationName: "sender", repositoryName: "__repository__", jobName: $job}
    executionMetadata: {tags: $tags}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""


@contextmanager
def held_up(url: str) -> Iterator[None]:
    """A table that nobody can read or write: what works on it waits in the middle of its work."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE app_child IN ACCESS EXCLUSIVE MODE")
        yield


def change(live: LiveInstance) -> None:
    execute(live.deployment.sender_url, "UPDATE app_child SET amount = amount + 1 WHERE id < 9")


def dump_windows(live: LiveInstance) -> str:
    """Ask for a range of windows, as the UI does; returns the run's id."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    tags = {
        "dagster/asset_partition_range_start": yesterday.strftime("%Y-%m-%dT00:00Z"),
        "dagster/asset_partition_range_end": yesterday.strftime("%Y-%m-%dT01:00Z"),
    }
    given = [{"key": key, "value": value} for key, value in tags.items()]
    answer = live.graphql(LAUNCH, job="partial_dump", tags=given)["launchPipelineExecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    run_id: str = answer["run"]["runId"]
    return run_id


def working(live: LiveInstance, job: str) -> tuple[str, int] | None:
    """A run of the job that is in the middle of its work, and its process."""
    for run in live.runs(job):
        pid = live.worker_pid(run.run_id)
        if run.status is dg.DagsterRunStatus.STARTED and pid is not None and waits(live):
            return run.run_id, pid
    return None


def waits(live: LiveInstance) -> bool:
    """Whether somebody waits for the table that is held up."""
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return bool(rows(live.deployment.sender_url, query))


def ended(live: LiveInstance, run_id: str, status: dg.DagsterRunStatus) -> dg.DagsterRun | None:
    run = live.instance.get_run_by_id(run_id)
    return run if run is not None and run.status is status else None


def retried(live: LiveInstance, run_id: str) -> dg.DagsterRun | None:
    """The run that Dagster made in place of one that lost its worker, when it has succeeded."""
    runs = live.runs(**{"dagster/parent_run_id": run_id})
    return next((run for run in runs if run.is_success), None)


def up_to_date(live: LiveInstance) -> bool:
    sender, receiver = live.deployment.sender_url, live.deployment.receiver_url
    return rows(sender, CHILDREN) == rows(receiver, CHILDREN)


def free_pools(live: LiveInstance) -> bool:
    storage = live.instance.event_log_storage
    info = [storage.get_concurrency_info(key) for key in storage.get_concurrency_keys()]
    return all(not each.claimed_slots and not each.pending_steps for each in info)


def test_whatever_dies_in_the_middle_is_made_good_without_a_person(live: LiveInstance) -> None:
    """One deployment for all, since its start takes longer than what is tried on it."""
    import time
    t=time.monotonic()
    def say(x): print(f"{time.monotonic()-t:.1f} {x}", flush=True)
    deployment = live.deployment
    for changes in (deployment.sender_changes, deployment.receiver_changes):
        changes |= {"AR_SYNC_PARTIAL_INTERVAL": "60", "AR_SYNC_TIME": "120"}
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    live.start()
    say("started")

    change(live)
    with held_up(deployment.sender_url):
        dump_windows(live)
        run_id, pid = live.until(lambda: working(live, "partial_dump"), "the dump works")
        say("dump works")
        os.kill(pid, signal.SIGKILL)
        live.until(lambda: ended(live, run_id, dg.DagsterRunStatus.FAILURE), "noticed")
        say("noticed")
        live.until(lambda: len(live.runs("partial_dump")) == 2, "tried again")
        say("retried")
    again = live.until(lambda: retried(live, run_id), "the second attempt")
    say("retry done")
    assert again.tags["dagster/asset_partition_range_end"].endswith("T01:00Z")
    live.until(lambda: up_to_date(live), "loaded")
    say("loaded")

    change(live)
    with held_up(deployment.receiver_url):
        dump_windows(live)
        run_id, pid = live.until(lambda: working(live, "partial_loaddata"), "the load works")
        say("load works")
        os.kill(pid, signal.SIGKILL)
        live.until(lambda: ended(live, run_id, dg.DagsterRunStatus.FAILURE), "noticed")
        say("noticed")
    live.until(lambda: retried(live, run_id), "the second attempt")
    say("retry done")
    assert up_to_date(live)

    change(live)
    with held_up(deployment.receiver_url):
        dump_windows(live)
        load, _ = live.until(lambda: working(live, "partial_loaddata"), "the load works")
        with held_up(deployment.sender_url):
            dump_windows(live)
            dump, _ = live.until(lambda: working(live, "partial_dump"), "the dump works")
            say("both work")
            live.kill()
    live.start()
    say("restarted")
    for run_id in (load, dump):
        live.until(lambda: retried(live, run_id), "the second attempt")
    say("retried")
    live.until(lambda: up_to_date(live), "loaded")
    live.until(lambda: free_pools(live), "pools are free")
    say("pools")
