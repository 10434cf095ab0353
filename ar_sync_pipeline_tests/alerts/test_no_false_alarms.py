"""States of a healthy system that look like failures: no alert is sent."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest
import time_machine

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.archive_sensors import archive_sensor
from ar_sync_pipeline.receiver.jobs import partial_loaddata
from ar_sync_pipeline.sync.load.acknowledge import report_load_at_work
from ar_sync_pipeline_tests.alerts.operation import (
    ENDPOINT,
    LOADED,
    MINUTES,
    NO_GAP,
    NO_GAPS,
    UP_TO_DATE,
    Operation,
)
from ar_sync_pipeline_tests.alerts.test_gaps_in_windows import end_run
from ar_sync_pipeline_tests.fix_sites import execute


@pytest.mark.long
def test_complete_that_waits_closes_the_gap_before_a_partial_that_overtook_it(
    operation: Operation,
) -> None:
    operation.run("complete_dump", "complete_loaddata", "complete_dump", "partial_dump")
    operation.run("partial_loaddata")
    with time_machine.travel(operation.now + 20 * MINUTES):
        operation.run("partial_loaddata")
    operation.tick()
    assert operation.found(NO_GAPS).passed
    assert "1 archive waits for the next load" in str(operation.found(UP_TO_DATE).description)
    operation.run("complete_loaddata")
    operation.tick()
    assert operation.found(NO_GAPS).passed
    assert "all is well" in str(operation.found(UP_TO_DATE).description)
    assert operation.subjects == []


@pytest.mark.long
def test_sensor_of_partials_has_a_waiting_complete_loaded_in_the_same_run(
    operation: Operation,
) -> None:
    operation.run("complete_dump", "complete_loaddata", "complete_dump", "partial_dump")
    sensor = archive_sensor(operation.receiver(), ArchiveKind.PARTIAL, partial_loaddata(ALONE))
    with operation.watched.instance() as instance:
        with dg.build_sensor_context(instance) as context:
            asked = sensor(context)
        assert isinstance(asked, dg.RunRequest)
        job = operation.watched.definitions("receiver").resolve_job_def("partial_loaddata")
        assert job.execute_in_process(run_config=asked.run_config, instance=instance).success
        assert list(operation.watched.deployment.spool.glob("*/NEW_*")) == []
    operation.tick()
    assert operation.found(NO_GAPS).passed
    assert operation.subjects == []


@pytest.mark.long
def test_complete_that_cannot_be_loaded_does_not_hold_up_partials(operation: Operation) -> None:
    operation.run("complete_dump", "complete_loaddata", "complete_dump", "partial_dump")
    job = operation.watched.definitions("receiver").resolve_job_def("complete_loaddata")
    sensor = archive_sensor(operation.receiver(), ArchiveKind.PARTIAL, partial_loaddata(ALONE))
    with operation.watched.instance() as instance:
        instance.report_run_failed(instance.create_run_for_job(job))
        with dg.build_sensor_context(instance) as context:
            asked = sensor(context)
    assert isinstance(asked, dg.RunRequest)
    assert not asked.run_config


@pytest.mark.long
def test_what_the_next_complete_brings_is_mailed_only_if_it_lasts(operation: Operation) -> None:
    """The receiver lacks rows that a differential complete does not carry."""
    operation.run("complete_dump", "complete_loaddata")
    receiver_url = operation.watched.deployment.receiver_url
    execute(receiver_url, "UPDATE app_child SET amount = -1 WHERE id = 7")
    operation.run("complete_dump")
    assert not operation.watched.run("complete_loaddata").succeeded
    operation.tick()
    found = operation.found(LOADED)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert operation.subjects == []

    operation.now += 16 * MINUTES
    with time_machine.travel(operation.now):
        operation.run("partial_loaddata")
    operation.tick()
    (subject,) = operation.subjects
    assert "archives_loaded" in subject

    operation.run("partial_dump", "complete_dump", "complete_loaddata")
    assert operation.found(LOADED).passed


@pytest.mark.long
def test_no_second_load_is_asked_for_while_one_is_at_work(operation: Operation) -> None:
    """It would wait in the queue of the pool, for an hour where a complete is large."""
    operation.run("complete_dump", "complete_loaddata", "partial_dump")
    sensor = archive_sensor(operation.receiver(), ArchiveKind.PARTIAL, partial_loaddata(ALONE))
    job = operation.watched.definitions("receiver").resolve_job_def("complete_loaddata")
    with operation.watched.instance() as instance:
        with dg.build_sensor_context(instance) as context:
            assert isinstance(sensor(context), dg.RunRequest)
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        with dg.build_sensor_context(instance) as context:
            answer = sensor(context)
    assert isinstance(answer, dg.SkipReason)
    assert run.run_id in str(answer.skip_message)


@pytest.mark.long
def test_receiver_without_any_archive_has_until_its_first_complete(operation: Operation) -> None:
    operation.watched.deployment.receiver_changes["AR_SYNC_COMPLETE_CRON"] = "0 * * * *"
    operation.tick()
    operation.tick(2 * MINUTES)
    found = operation.found(UP_TO_DATE)
    assert not found.passed, "an empty receiver is not up to date"
    assert "holds no data yet" in str(found.description)
    operation.watch(timedelta(hours=6), every=9 * MINUTES)
    assert operation.subjects == []
    operation.watch(timedelta(hours=1.5), every=9 * MINUTES)
    (subject,) = operation.subjects
    assert "up_to_date: The receiver holds no data yet" in subject


@pytest.mark.long
def test_receiver_that_was_off_loads_what_waits_before_a_mail_is_sent(
    operation: Operation,
) -> None:
    operation.run("complete_dump", "complete_loaddata")
    operation.tick()
    operation.tick(timedelta(hours=3))
    assert not operation.found(UP_TO_DATE).passed, "it is three hours old"
    assert operation.subjects == []
    operation.watch(9 * MINUTES, every=3 * MINUTES)
    assert operation.subjects == []
    operation.tick(2 * MINUTES)
    (subject,) = operation.subjects
    assert "up_to_date: Data until" in subject


@pytest.mark.long
def test_receiver_that_falls_behind_while_it_is_watched_is_reported_at_once(
    operation: Operation,
) -> None:
    operation.run("complete_dump", "complete_loaddata")
    operation.watch(29 * MINUTES, every=1 * MINUTES)
    assert operation.subjects == []
    operation.tick(3 * MINUTES)
    assert len(operation.subjects) == 1
    operation.watch(60 * MINUTES)
    assert len(operation.subjects) == 1


@pytest.mark.long
def test_load_that_takes_longer_than_data_may_be_old_is_no_incident(operation: Operation) -> None:
    operation.run("complete_dump", "complete_loaddata")
    job = operation.watched.definitions("receiver").resolve_job_def("complete_loaddata")
    with operation.watched.instance() as instance:
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    operation.tick()
    operation.watch(120 * MINUTES)
    assert not operation.found(UP_TO_DATE).passed
    assert operation.subjects == []
    operation.watch(40 * MINUTES)
    assert len(operation.subjects) == 1, "no load is waited for without end"
    assert run.run_id


@pytest.mark.long
@pytest.mark.parametrize(("job", "mails"), [("partial_loaddata", 0), ("lima_partial_loaddata", 1)])
def test_archives_that_nothing_loads_are_reported_whatever_other_pairs_load(
    operation: Operation, job: str, mails: int
) -> None:
    """The sensor is stopped; a load that just ended leaves what waits to the next one."""
    operation.run("complete_dump", "complete_loaddata", "partial_dump")
    operation.watch(29 * MINUTES, every=1 * MINUTES)
    for _ in range(3):
        end_run(operation, job, dg.DagsterRunStatus.SUCCESS)
        operation.tick(1 * MINUTES)
    assert "1 archive waits" in str(operation.found(UP_TO_DATE).description)
    assert len([one for one in operation.subjects if "up_to_date" in one]) == mails


@pytest.mark.long
def test_receiver_that_was_off_together_with_the_sender_has_time_to_answer(
    operation: Operation,
) -> None:
    operation.watched.deployment.sender_changes["AR_SYNC_ACKNOWLEDGE_WITHIN"] = "20"
    operation.run("complete_dump")

    def acknowledged(minutes: int) -> tuple[bool, int]:
        with time_machine.travel(operation.now + minutes * MINUTES):
            operation.run("partial_dump")
            operation.watched.tick("sender")
        key = dg.AssetCheckKey(NO_GAP.asset_key, "acknowledged")
        told = [subject for subject in operation.subjects if "acknowledged" in subject]
        return operation.found(key).passed, len(told)

    assert acknowledged(1) == (True, 0)
    night = 9 * 60
    assert acknowledged(night) == (False, 0)
    assert acknowledged(night + 10) == (False, 0)
    assert acknowledged(night + 21) == (False, 1), "it is off, and the sender is not"


@pytest.mark.long
def test_archives_that_a_long_load_has_not_answered_yet_are_no_incident(
    operation: Operation,
) -> None:
    """A first load, or its transform, may take hours; it answers when it ends."""
    operation.run("complete_dump")
    job = operation.watched.definitions("receiver").resolve_job_def("complete_loaddata")
    with operation.watched.instance() as instance:
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTING)
        started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=job.name)
        instance.report_dagster_event(started, run.run_id)
    key = dg.AssetCheckKey(NO_GAP.asset_key, "acknowledged")

    def mails(minutes: int) -> int:
        """Return the number of mails after a partial, some minutes later."""
        operation.tick(minutes * MINUTES)
        with time_machine.travel(operation.now):
            operation.run("partial_dump")
            operation.watched.tick("sender")
        return len([subject for subject in operation.subjects if "acknowledged" in subject])

    assert mails(32) == 0
    assert not operation.found(key).passed
    assert "The receiver says that a load is at work." in str(operation.found(key).description)
    assert mails(80) == 0
    assert mails(40) == 1, "no load is waited for without end"


@pytest.mark.long
def test_load_that_the_receiver_has_not_reported_for_minutes_delays_no_mail(
    operation: Operation,
) -> None:
    operation.run("complete_dump")
    report_load_at_work(operation.receiver().settings, lambda: operation.now + 20 * MINUTES)
    with time_machine.travel(operation.now + 32 * MINUTES):
        operation.run("partial_dump")
        operation.watched.tick("sender")
    assert [subject for subject in operation.subjects if "acknowledged" in subject]


@pytest.mark.long
def test_run_that_waits_for_one_of_its_pool_is_no_incident(
    operation: Operation,
) -> None:
    definitions = operation.watched.definitions("receiver")
    with operation.watched.instance() as instance:
        instance.create_run_for_job(
            definitions.resolve_job_def("complete_loaddata"), status=dg.DagsterRunStatus.STARTED
        )
        instance.create_run_for_job(definitions.resolve_job_def("partial_loaddata"))
    for hours, mails in ((2, 0), (6, 1)):
        operation.now += timedelta(hours=hours)
        with time_machine.travel(operation.now, tick=False):
            operation.watched.tick("receiver")
        told = [subject for subject in operation.subjects if "has waited" in subject]
        assert len(told) == mails


@pytest.mark.long
def test_gap_is_shown_at_once_and_mailed_only_if_no_archive_closes_it(
    operation: Operation,
) -> None:
    operation.run("complete_dump", "complete_loaddata", "partial_dump", "partial_dump")
    lost, *_ = sorted((operation.watched.deployment.spool / "partial").glob("NEW_*"))
    lost.unlink()
    operation.run("partial_loaddata")
    found = operation.found(NO_GAPS)
    assert not found.passed
    assert "may be missing" in str(found.description)
    operation.tick()
    assert operation.subjects == []
    with time_machine.travel(operation.now + 16 * MINUTES):
        operation.run("partial_loaddata")
        operation.watched.tick_both()
    (subject,) = operation.subjects
    assert "no_holes: changes between" in subject


@pytest.mark.long
def test_receiver_that_cannot_be_reached_is_shown_at_the_endpoint_at_once(
    operation: Operation,
) -> None:
    operation.run("ssh_sftp_checker")
    keys = operation.watched.deployment.sftp.known_hosts
    pinned = keys.read_text()
    for job in ("partial_dump", "complete_dump"):
        keys.write_text("")
        assert not operation.watched.run(job).succeeded
        assert "host key" in str(operation.found(ENDPOINT).description)
        keys.write_text(pinned)
        operation.run(job)
        assert operation.found(ENDPOINT).passed


NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
# What breaks: the side, the setting and its broken value, and a job that fails by it.
OUTAGES = {
    "the sender's database": ("sender", "AR_SYNC_SENDER_DATABASE_URL", NOWHERE, "partial_dump"),
    "the receiver's database": (
        "receiver", "AR_SYNC_RECEIVER_DATABASE_URL", NOWHERE, "partial_loaddata"
    ),
    "the connection to the receiver": ("sender", "AR_SYNC_KNOWN_HOSTS", __file__, "partial_dump"),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("first", ["preflight", "job"])
@pytest.mark.parametrize("what", OUTAGES)
def test_outage_is_one_incident_of_jobs_and_preflight(
    operation: Operation, what: str, first: str
) -> None:
    """The code location was restarted meanwhile, so that its first tick examines everything."""
    side, variable, broken, job = OUTAGES[what]
    operation.run("complete_dump", "complete_loaddata")
    deployment = operation.watched.deployment
    changes = getattr(deployment, f"{side}_changes")
    before, name = getattr(deployment, f"{side}_environment")()[variable], f"{side}_preflight"

    def examine() -> None:
        definitions = getattr(deployment, f"{side}_definitions")()
        operation.tick_of(definitions.resolve_sensor_def(name), name)
        operation.watched.tick(side)

    def work(*, succeeds: bool) -> None:
        assert operation.watched.run(job).succeeded is succeeds
        operation.watched.tick(side)

    changes[variable] = broken
    if first == "preflight":
        examine()
    work(succeeds=False)
    examine()
    assert len(operation.subjects) == 1, operation.subjects
    assert what in operation.subjects[0]
    changes[variable] = before
    work(succeeds=True)
    examine()
    assert [one.split()[2] for one in operation.subjects] == ["Failing:", "Recovered:"]


@pytest.mark.long
def test_failed_upload_is_shown_at_the_endpoint_at_once_until_one_works(
    operation: Operation,
) -> None:
    operation.run("ssh_sftp_checker")
    faults = operation.watched.deployment.faults
    faults.read_only = True
    assert not operation.watched.run("partial_dump").succeeded
    faults.read_only = False
    failed = operation.found(ENDPOINT)
    assert not failed.passed
    assert failed.description
    operation.watched.tick_both()
    assert len(operation.subjects) == 1
    operation.run("partial_dump")
    assert operation.found(ENDPOINT).passed
    operation.watched.tick_both()
    assert [subject.split()[2] for subject in operation.subjects] == ["Failing:", "Recovered:"]


@pytest.mark.long
def test_receipts_that_are_not_believed_are_one_incident_until_a_test_reads_them(
    operation: Operation,
) -> None:
    """As where the signing key is set at the sender first (docs/keys.md)."""
    operation.run("complete_dump", "complete_loaddata")
    changes = operation.watched.deployment.sender_changes
    changes["AR_SYNC_SIGNING_KEY"] = "8f1c6bb0e2d94f57a3c0d1e6b7a29f48"
    for _ in range(2):
        assert not operation.watched.run("ssh_sftp_checker").succeeded
        operation.run("partial_dump")
        assert "receipts readable" in str(operation.found(ENDPOINT).description)
        operation.watched.tick_both()
    (subject,) = operation.subjects
    assert "Failing: the receiver's receipts: receipts readable: " in subject
    assert "not_acknowledged" in operation.watched.text(0)
    del changes["AR_SYNC_SIGNING_KEY"]
    operation.run("ssh_sftp_checker", "partial_dump")
    operation.watched.tick_both()
    assert operation.subjects[1:] == ["[ar_sync sender] Recovered: the receiver's receipts"]


@pytest.mark.long
def test_upload_after_a_failed_one_proves_nothing_about_receipts_that_are_not_believed(
    operation: Operation,
) -> None:
    operation.run("complete_dump", "complete_loaddata")
    changes = operation.watched.deployment.sender_changes
    changes["AR_SYNC_SIGNING_KEY"] = "8f1c6bb0e2d94f57a3c0d1e6b7a29f48"
    assert not operation.watched.run("ssh_sftp_checker").succeeded
    operation.watched.tick_both()
    faults = operation.watched.deployment.faults
    for _ in range(2):
        faults.read_only = True
        assert not operation.watched.run("partial_dump").succeeded
        assert "receipts readable" not in str(operation.found(ENDPOINT).description)
        faults.read_only = False
    operation.run("partial_dump")
    found = operation.found(ENDPOINT)
    assert not found.passed
    assert "receipts readable" in str(found.description)
    operation.watched.tick_both()
    assert [one for one in operation.subjects if "Recovered: the receiver's receipts" in one] == []


@pytest.mark.long
def test_archive_for_which_the_receiver_has_no_space_is_an_incident_until_it_is_sent(
    operation: Operation,
) -> None:
    faults = operation.watched.deployment.faults
    faults.free_bytes = 0
    assert not operation.watched.run("complete_dump").succeeded
    operation.watched.tick_both()
    (subject,) = operation.subjects
    assert "Failing: the free space at the receiver: " in subject
    assert "disk_full" in operation.watched.text(0)
    faults.free_bytes = None
    operation.run("partial_dump", "ssh_sftp_checker")
    operation.watched.tick_both()
    assert operation.subjects == [subject], "partials and the test fit"
    operation.run("complete_dump")
    operation.watched.tick_both()
    assert operation.subjects[1:] == ["[ar_sync sender] Recovered: the free space at the receiver"]
