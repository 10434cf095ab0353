"""States of a healthy system that look like failures: no alert is sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.operations import boundary
from ar_sync_pipeline.operations.asset_keys import (
    applied_archives_key,
    archive_key,
    endpoint_key,
)
from ar_sync_pipeline.operations.pair_names import SIDE_TAG
from ar_sync_pipeline.operations.windows import KEY_FORMAT, window_partitions
from ar_sync_pipeline.receiver.archive_sensors import archive_sensor
from ar_sync_pipeline.receiver.jobs import partial_loaddata
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.up_to_date_check import up_to_date_sensor
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.window_check import check_for_gaps, no_gap_sensor
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings
from ar_sync_pipeline_tests.alerts.watched import Watched
from ar_sync_pipeline_tests.fix_alerts import Mailbox
from ar_sync_pipeline_tests.fix_dagster import Deployment, stop_schedule
from ar_sync_pipeline_tests.fix_sites import execute

UP_TO_DATE = dg.AssetCheckKey(applied_archives_key(), "up_to_date")
LOADED = dg.AssetCheckKey(applied_archives_key(), "archives_loaded")
NO_HOLES = dg.AssetCheckKey(applied_archives_key(), "no_holes")
NO_GAP = dg.AssetCheckKey(archive_key(ArchiveKind.PARTIAL), "no_gap_in_windows")
ENDPOINT = dg.AssetCheckKey(endpoint_key(), "archives_can_be_published")
MINUTES = timedelta(minutes=1)


class Operation:
    """A deployment in operation, on a clock that a test sets; the daemon ticks its sensors."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.now = datetime.now(UTC)
        self.cursors: dict[str, str | None] = {}

    @property
    def subjects(self) -> list[str]:
        return self.watched.subjects

    def run(self, *jobs: str) -> None:
        for job in jobs:
            outcome = self.watched.run(job)
            assert outcome.succeeded, (job, outcome.failures)

    def tick(self, after: timedelta = timedelta(0)) -> None:
        """All sensors of both sides, some time later."""
        self.now += after
        with time_machine.travel(self.now, tick=False):
            self.tick_of(up_to_date_sensor(self.receiver()), "up_to_date")
            self.tick_of(no_gap_sensor(self.sender(), self.windows()), "no_gap")
            self.watched.tick_both()

    def watch(self, span: timedelta, *, every: timedelta = 5 * MINUTES) -> None:
        """Tick without interruption."""
        for _ in range(span // every):
            self.tick(every)

    def found(self, key: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
        with self.watched.instance() as instance:
            record = instance.get_latest_asset_check_evaluation_record(key)
        assert record is not None
        assert isinstance(record.evaluation, dg.AssetCheckEvaluation), record.status
        return record.evaluation

    def dumped(self, ago: timedelta) -> None:
        """The window that was over some time ago has its archive."""
        end = self.now - ago
        end -= timedelta(minutes=end.minute % 5, seconds=end.second, microseconds=end.microsecond)
        key = (end - 5 * MINUTES).strftime(KEY_FORMAT)
        with time_machine.travel(self.now - ago, tick=False), self.watched.instance() as instance:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(NO_GAP.asset_key, partition=key)
            )

    def receiver(self) -> ReceiverSite:
        settings = load_receiver_settings(self.watched.deployment.receiver_environment())
        return ReceiverSite(settings, load_catalog(settings.catalog), lambda: self.now)

    def sender(self) -> SenderSite:
        settings = load_sender_settings(self.watched.deployment.sender_environment())
        return SenderSite(settings, load_catalog(settings.catalog), lambda: self.now)

    def windows(self) -> dg.TimeWindowPartitionsDefinition:
        return window_partitions(self.now, days_back=14, interval_minutes=5)

    def tick_of(self, sensor: dg.SensorDefinition, name: str) -> None:
        with (
            self.watched.instance() as instance,
            dg.build_sensor_context(instance, cursor=self.cursors.get(name)) as context,
        ):
            answer = sensor(context)
            if isinstance(answer, dg.SkipReason):
                self.cursors[name] = context.cursor
                return
            assert isinstance(answer, dg.SensorResult)
            for event in answer.asset_events:
                instance.report_runless_asset_event(event)
            self.cursors[name] = answer.cursor


@pytest.fixture
def operation(
    deployment: Deployment, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> Operation:
    monkeypatch.setattr(boundary, "RETRY_DELAY_SECONDS", 0)
    return Operation(Watched(deployment, mailbox))


@pytest.mark.long
def test_complete_that_waits_closes_the_gap_before_a_partial_that_overtook_it(
    operation: Operation,
) -> None:
    operation.run("complete_dump", "complete_loaddata", "complete_dump", "partial_dump")
    operation.run("partial_loaddata")
    with time_machine.travel(operation.now + 20 * MINUTES):
        operation.run("partial_loaddata")
    operation.tick()
    assert operation.found(NO_HOLES).passed
    assert "1 archive waits for the next load" in str(operation.found(UP_TO_DATE).description)
    operation.run("complete_loaddata")
    operation.tick()
    assert operation.found(NO_HOLES).passed
    assert "all is well" in str(operation.found(UP_TO_DATE).description)
    assert operation.subjects == []


@pytest.mark.long
def test_sensor_of_partials_has_a_waiting_complete_loaded_in_the_same_run(
    operation: Operation,
) -> None:
    operation.run("complete_dump", "complete_loaddata", "complete_dump", "partial_dump")
    sensor = archive_sensor(operation.receiver(), ArchiveKind.PARTIAL, partial_loaddata())
    with operation.watched.instance() as instance:
        with dg.build_sensor_context(instance) as context:
            asked = sensor(context)
        assert isinstance(asked, dg.RunRequest)
        job = operation.watched.definitions("receiver").resolve_job_def("partial_loaddata")
        assert job.execute_in_process(run_config=asked.run_config, instance=instance).success
        assert list(operation.watched.deployment.spool.glob("*/NEW_*")) == []
    operation.tick()
    assert operation.found(NO_HOLES).passed
    assert operation.subjects == []


@pytest.mark.long
def test_complete_that_cannot_be_loaded_does_not_hold_up_partials(operation: Operation) -> None:
    operation.run("complete_dump", "complete_loaddata", "complete_dump", "partial_dump")
    job = operation.watched.definitions("receiver").resolve_job_def("complete_loaddata")
    sensor = archive_sensor(operation.receiver(), ArchiveKind.PARTIAL, partial_loaddata())
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
    sensor = archive_sensor(operation.receiver(), ArchiveKind.PARTIAL, partial_loaddata())
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


@pytest.mark.long
@pytest.mark.parametrize("how", UNDER_WAY)
def test_windows_that_a_run_is_about_to_fill_are_no_gap(operation: Operation, how: str) -> None:
    operation.dumped(50 * MINUTES)
    job = operation.watched.definitions("sender").resolve_job_def("partial_dump")
    with operation.watched.instance() as instance:
        UNDER_WAY[how](instance, job)
    operation.tick()
    operation.watch(30 * MINUTES)
    found = operation.found(NO_GAP)
    assert found.passed
    assert "windows have no archive" in str(found.description)
    assert "takes them along" in str(found.description)
    assert gaps(operation) == []


def test_windows_that_passed_during_a_long_run_are_left_to_the_next_one(
    operation: Operation,
) -> None:
    operation.dumped(50 * MINUTES)
    operation.dumped(2 * MINUTES)
    operation.tick()
    assert operation.found(NO_GAP).passed
    assert "The next run takes them along" in str(operation.found(NO_GAP).description)


def end_run(operation: Operation, job: str, status: dg.DagsterRunStatus, **tags: str) -> None:
    """A run of a job of any pair ends now."""
    ends = {
        dg.DagsterRunStatus.SUCCESS: dg.DagsterEventType.RUN_SUCCESS,
        dg.DagsterRunStatus.FAILURE: dg.DagsterEventType.RUN_FAILURE,
    }
    with time_machine.travel(operation.now, tick=False), operation.watched.instance() as instance:
        run = create_run_for_test(
            instance, job_name=job, status=dg.DagsterRunStatus.STARTED, tags=tags
        )
        event = dg.DagsterEvent(ends[status].value, job_name=job)
        instance.report_dagster_event(event, run.run_id)


OF_OTHERS = {
    "ssh_sftp_checker": {SIDE_TAG: "sender"},
    "complete_dump": {SIDE_TAG: "sender"},
    "partial_loaddata": {SIDE_TAG: "receiver"},
    "lima_partial_dump": {SIDE_TAG: "lima_sender"},
}


@pytest.mark.parametrize("job", OF_OTHERS)
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


@pytest.mark.parametrize("job", OF_OTHERS)
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


@pytest.mark.long
def test_gap_sends_no_second_mail_in_addition_to_that_of_the_failed_runs(
    operation: Operation,
) -> None:
    operation.dumped(60 * MINUTES)
    execute(operation.watched.deployment.sender_url, "ALTER TABLE app_child DROP changed CASCADE")
    assert not operation.watched.run("partial_dump").succeeded
    operation.tick()
    operation.watch(60 * MINUTES)
    assert not operation.found(NO_GAP).passed
    assert "The last run of partial_dump has failed." in str(operation.found(NO_GAP).description)
    assert gaps(operation) == []
    assert [subject for subject in operation.subjects if "[ar_sync sender] Failing" in subject]


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
    found = operation.found(NO_HOLES)
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
    "the way to the receiver": ("sender", "AR_SYNC_KNOWN_HOSTS", __file__, "partial_dump"),
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
