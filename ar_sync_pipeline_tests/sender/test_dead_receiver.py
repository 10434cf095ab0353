"""Dumps with an unreachable receiver: they end soon, and nothing is lost."""

from __future__ import annotations

import dagster as dg
import pytest

from ar_sync_pipeline.operations import boundary
from ar_sync_pipeline.sender import complete_assets
from ar_sync_pipeline.sftp.retry_budget import RetryPlan
from ar_sync_pipeline.sync.dump import publish, receiver_view
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import execute, rows

_CLOSED_PORT = "1"
CHILDREN = "SELECT id, parent_id, changed, amount, picture FROM app_child ORDER BY id"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "PLAN", RetryPlan(fruitless_seconds=0.5, first_wait_seconds=0.05))


@pytest.fixture
def retrying_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "RETRY_DELAY_SECONDS", 0)


def retried_steps(deployment: Deployment, run_id: str) -> int:
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        kind = {dg.DagsterEventType.STEP_UP_FOR_RETRY}
        return len(instance.get_records_for_run(run_id, of_type=kind).records)


@pytest.mark.long
def test_partial_ends_at_once_and_the_next_one_takes_its_changes_along(
    deployment: Deployment,
) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    execute(deployment.sender_url, "UPDATE app_child SET amount = -1, changed = now() WHERE id = 7")
    deployment.sender_changes["AR_SYNC_REMOTE_PORT"] = _CLOSED_PORT
    outcome = deployment.run("partial_dump")
    assert not outcome.succeeded
    assert "port 1 does not answer" in outcome.failures[0]
    assert retried_steps(deployment, outcome.run_id) == 0
    del deployment.sender_changes["AR_SYNC_REMOTE_PORT"]
    deployment.succeed("partial_dump")
    deployment.succeed("partial_loaddata")
    assert rows(deployment.receiver_url, CHILDREN) == rows(deployment.sender_url, CHILDREN)


@pytest.mark.long
@pytest.mark.usefixtures("retrying_at_once")
def test_complete_tries_its_last_step_a_few_more_times(deployment: Deployment) -> None:
    """The next complete is a day away, and the retry does not read the tables again."""
    deployment.succeed("complete_dump")
    deployment.sender_changes["AR_SYNC_REMOTE_PORT"] = _CLOSED_PORT
    outcome = deployment.run("complete_dump")
    assert not outcome.succeeded
    assert "port 1 does not answer" in outcome.failures[0]
    assert retried_steps(deployment, outcome.run_id) == 3


@pytest.mark.long
def test_complete_waits_as_long_for_the_database_as_for_the_receiver(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade of production's PostgreSQL takes some minutes, and a restart does too."""
    assert boundary.RETRY_DELAY_SECONDS * complete_assets.PAUSES == 300
    deployment.sender_changes["AR_SYNC_SENDER_DATABASE_URL"] = "postgresql://a@127.0.0.1:1/b"
    monkeypatch.setattr(boundary, "RETRY_DELAY_SECONDS", 0.01)
    outcome = deployment.run("complete_dump")
    kind = {dg.DagsterEventType.STEP_UP_FOR_RETRY}
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        records = instance.get_records_for_run(outcome.run_id, of_type=kind).records
    events = [record.event_log_entry.get_dagster_event() for record in records]
    waits = [event.step_retry_data.seconds_to_wait for event in events]
    assert waits == [0.01 * complete_assets.PAUSES] * 3


def test_run_with_a_dead_network_ends_within_two_minutes() -> None:
    """Reading the receiver's state times out, then the retry budget of the publication ends.

    The first packet gets no answer, as in a new run on a network that is down.
    """
    look, plan = receiver_view.LIMITS, RetryPlan()
    assert look.resolve_seconds + look.connect_seconds + plan.fruitless_seconds < 120
    assert look.whole_seconds is not None
    # Worst case: the network fails during the reading of the receiver's state, too.
    assert look.opening_seconds + look.whole_seconds + plan.fruitless_seconds <= 150
