"""One mail when a cause begins and one when it is over, whatever is found and closed meanwhile."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
import time_machine

from ar_sync_pipeline.alerts.store import IncidentStore
from ar_sync_pipeline.disk_errors import DiskFailedError
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.operations.check_evaluation import unchanged_since
from ar_sync_pipeline.postgres.errors import DatabaseUnreachableError
from ar_sync_pipeline.sync.load.load_archives import LoadReport, load_archives
from ar_sync_pipeline.sync.watch.alerting import incidents_file
from ar_sync_pipeline_tests.alerts.operation import LOADED, MINUTES, UP_TO_DATE, Operation
from ar_sync_pipeline_tests.fix_sites import execute

DIGESTS = dg.AssetCheckKey(LOADED.asset_key, "digests_equal")
KEEPING_TRIGGER = (
    """CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF OLD.id = 7 THEN NEW.amount := OLD.amount; END IF; RETURN NEW; END $$""",
    "CREATE TRIGGER keep BEFORE UPDATE ON app_child FOR EACH ROW EXECUTE FUNCTION keep()",
    "ALTER TABLE app_child ENABLE ALWAYS TRIGGER keep",
)


@pytest.mark.long
def test_late_data_is_one_finding_and_closed_for_good_until_its_age_doubles(
    operation: Operation,
) -> None:
    """The reason names open incidents, and so the check's own one: it must not be a finding."""
    operation.run("complete_dump", "complete_loaddata")
    operation.watch(25 * MINUTES)
    operation.tick(7 * MINUTES)
    since = set()
    for _ in range(5):
        operation.tick(3 * MINUTES)
        since.add(unchanged_since(operation.found(UP_TO_DATE)))
    assert "incident is open" in str(operation.found(UP_TO_DATE).description)
    assert len(since) == 1
    assert verbs(operation) == ["Failing:"]
    store = IncidentStore(incidents_file(operation.receiver().settings), ["mail"])
    assert store.close(1, operation.now)
    operation.watch(10 * MINUTES)
    assert verbs(operation) == ["Failing:", "Recovered:"], "a person has closed it"
    operation.watch(15 * MINUTES)
    assert verbs(operation) == ["Failing:", "Recovered:", "Failing:"], "an hour"


@pytest.mark.long
def test_parked_archive_whose_digests_differ_is_one_incident_until_it_is_applied(
    operation: Operation,
) -> None:
    """A load of partials meanwhile says nothing about the parked complete."""
    operation.run("complete_dump", "complete_loaddata")
    execute(operation.watched.deployment.receiver_url, *KEEPING_TRIGGER)
    sender = operation.watched.deployment.sender_url
    execute(sender, "UPDATE app_child SET amount = -5 WHERE id = 7")
    operation.run("complete_dump")
    for _ in range(2):
        assert not later(operation, "complete_loaddata")
        assert operation.found(DIGESTS).severity is dg.AssetCheckSeverity.ERROR
        assert later(operation, "partial_loaddata")
        found = operation.found(DIGESTS)
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert verbs(operation) == ["Failing:"]
    assert "digests_differ" in operation.watched.text(0)
    execute(operation.watched.deployment.receiver_url, "DROP TRIGGER keep ON app_child")
    assert later(operation, "complete_loaddata")
    assert operation.found(DIGESTS).passed
    assert verbs(operation) == ["Failing:", "Recovered:"]


@pytest.mark.long
def test_other_archive_that_is_rejected_is_mailed_while_the_guard_holds_one(
    operation: Operation,
) -> None:
    deployment = operation.watched.deployment
    operation.run("complete_dump", "complete_loaddata")
    execute(deployment.sender_url, "DELETE FROM app_child")
    operation.run("complete_dump")
    assert not later(operation, "complete_loaddata")
    assert verbs(operation) == ["Failing:"]
    execute(
        deployment.receiver_url,
        "ALTER TABLE app_parent ADD CONSTRAINT nobad CHECK (label <> 'bad')",
    )
    execute(deployment.sender_url, "INSERT INTO app_parent (code, label) VALUES ('b', 'bad')")
    assert later(operation, "partial_dump")
    for _ in range(2):
        assert not later(operation, "partial_loaddata")
    assert verbs(operation) == ["Failing:", "Failing:"]
    guard, other = operation.watched.text(0), operation.watched.text(1)
    assert "ar-sync allow" in guard
    assert "nobad" not in guard
    assert "nobad" in other
    assert "ar-sync allow" not in other
    execute(deployment.receiver_url, "ALTER TABLE app_parent DROP CONSTRAINT nobad")
    assert later(operation, "partial_loaddata")
    assert verbs(operation) == ["Failing:", "Failing:", "Recovered:"], "the guard holds on"
    assert "nobad" in operation.watched.text(2)


@pytest.mark.long
@pytest.mark.parametrize(
    "error",
    [
        DiskFailedError("the disk is gone", remedy="x"),
        DatabaseUnreachableError("the database closed the connection", remedy="x"),
    ],
    ids=["of the step", "of an area"],
)
def test_load_of_a_complete_that_fails_recovers_with_a_complete_or_when_none_waits(
    operation: Operation, monkeypatch: pytest.MonkeyPatch, error: ArSyncError
) -> None:
    """Partials load every few minutes, whatever kills the load of a complete."""
    operation.run("complete_dump", "complete_loaddata")
    loading = load_archives
    fails = True

    def load(*given: Any) -> LoadReport:
        if fails:
            raise error
        return loading(*given)

    monkeypatch.setattr("ar_sync_pipeline.receiver.load_assets.load_archives", load)
    sender = operation.watched.deployment.sender_url
    for ending in ("loaded", "removed"):
        operation.watched.mailbox.raw.clear()
        execute(sender, "INSERT INTO app_parent (code, label) VALUES (now(), 'new')")
        operation.run("complete_dump")
        for _ in range(2):
            fails = True
            assert not later(operation, "complete_loaddata")
            fails = False
            assert later(operation, "partial_loaddata")
        assert verbs(operation) == ["Failing:"]
        if ending == "removed":
            (waiting,) = (operation.watched.deployment.spool / "complete").glob("NEW_*")
            waiting.unlink()
        assert later(operation, "complete_loaddata" if ending == "loaded" else "partial_loaddata")
        assert verbs(operation)[:2] == ["Failing:", "Recovered:"]
    # That somebody removed it is news of its own.
    assert verbs(operation)[2:] == ["Failing:"]
    assert "vanished" in operation.watched.text(2)


@pytest.mark.long
def test_data_is_late_for_archives_that_have_a_mail_of_their_own_until_the_sender_is_silent(
    operation: Operation,
) -> None:
    deployment = operation.watched.deployment
    operation.run("complete_dump", "complete_loaddata")
    execute(deployment.receiver_url, "ALTER TABLE app_child DROP amount")
    for _ in range(3):
        execute(deployment.sender_url, "UPDATE app_child SET amount = 3, changed = now()")
        assert later(operation, "partial_dump")
        assert not later(operation, "partial_loaddata")
        operation.watch(10 * MINUTES)
    assert not operation.found(UP_TO_DATE).passed
    assert verbs(operation) == ["Failing:"]
    operation.watch(30 * MINUTES)
    assert verbs(operation) == ["Failing:", "Failing:"]
    assert "up_to_date" in operation.watched.text(-1)


def later(operation: Operation, job: str) -> bool:
    """Run a job some minutes later, then the sensors; return whether it succeeded."""
    operation.now += 2 * MINUTES
    with time_machine.travel(operation.now):
        succeeded = operation.watched.run(job).succeeded
    operation.tick()
    return succeeded


def verbs(operation: Operation) -> list[str]:
    """What the receiver's mails say, in their order."""
    return [one.split()[2] for one in operation.subjects if one.startswith("[ar_sync receiver]")]
