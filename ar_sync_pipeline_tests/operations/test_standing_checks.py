"""Checks that can fail while nothing runs: evaluated by sensors, shown with the current state."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import time_machine
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.loader import LoadingContextForTest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.operations.asset_keys import applied_archives_key, archive_key
from ar_sync_pipeline.operations.check_evaluation import NO_MAIL_BEFORE, unchanged_since
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.windows import window_partitions
from ar_sync_pipeline.receiver.postprocess_asset import postprocess_asset
from ar_sync_pipeline.receiver.postprocess_checks import check_specs
from ar_sync_pipeline.receiver.postprocess_sensor import postprocess_sensor
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.up_to_date_check import up_to_date_check, up_to_date_sensor
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.window_check import check_for_gaps
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings
from ar_sync_pipeline.spool.load_at_work import LoadAtWork
from ar_sync_pipeline_tests.fix_dagster import Deployment, is_shown
from ar_sync_pipeline_tests.missing_parts import require_root

UP_TO_DATE = dg.AssetCheckKey(applied_archives_key(ALONE), "up_to_date")
NO_GAP = dg.AssetCheckKey(archive_key(ArchiveKind.PARTIAL, ALONE), "no_gap_in_windows")


@pytest.fixture
def instance(deployment: Deployment) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(deployment.home)) as opened:
        yield opened


class Receiver:
    """The sensor of a receiver, at chosen minutes from now."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        self.deployment = deployment
        self.instance = instance
        self.cursor: str | None = None

    def site(self, now: datetime) -> ReceiverSite:
        settings = load_receiver_settings(self.deployment.receiver_environment())
        return ReceiverSite(settings, load_catalog(settings.catalog), lambda: now)

    def tick(self, minutes: float) -> dg.AssetCheckEvaluation | str:
        """Return what a tick writes, and record it as the daemon does; or why it writes nothing."""
        site = self.site(datetime.now(UTC) + timedelta(minutes=minutes))
        context = dg.build_sensor_context(self.instance, cursor=self.cursor)
        answer = up_to_date_sensor(site)(context)
        if isinstance(answer, dg.SkipReason):
            self.cursor = context.cursor
            return str(answer.skip_message)
        assert isinstance(answer, dg.SensorResult)
        assert not answer.run_requests
        (event,) = answer.asset_events
        assert isinstance(event, dg.AssetCheckEvaluation)
        self.instance.report_runless_asset_event(event)
        self.cursor = answer.cursor
        return event


def recorded(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
    record = instance.get_latest_asset_check_evaluation_record(key)
    assert record is not None
    assert isinstance(record.evaluation, dg.AssetCheckEvaluation), record.status
    return record.evaluation


def written(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> list[tuple[bool, str]]:
    """Return every evaluation without a run, newest first."""
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=1000)
    found = [record.evaluation for record in history if record.run_id == ""]
    return [(each.passed, str(each.description)) for each in found if each is not None]


@pytest.mark.long
def test_a_receiver_that_falls_behind_is_shown_as_it_is_now(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    receiver = Receiver(deployment, instance)
    empty = receiver.tick(0)
    assert isinstance(empty, dg.AssetCheckEvaluation)
    assert (empty.passed, empty.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert empty.description == (
        "The receiver holds no data yet, because no complete archive has been applied."
    )

    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    assert recorded(instance, UP_TO_DATE).passed, "a load ends with the check"
    for minutes in (1, 29, 47, 48, 61):
        found = receiver.tick(minutes)
        assert isinstance(found, dg.AssetCheckEvaluation)
        said = re.search(r"UTC, (\d+) min behind, because ", str(found.description))
        assert said is not None
        assert int(said[1]) - minutes in {0, 1}
        assert found.passed == (minutes <= 30)
        assert found.passed or found.severity is dg.AssetCheckSeverity.ERROR
        assert recorded(instance, UP_TO_DATE) == found

    deployment.succeed("partial_loaddata")
    assert recorded(instance, UP_TO_DATE).passed
    again = receiver.tick(90)
    assert isinstance(again, dg.AssetCheckEvaluation), "a run has written another verdict since"
    assert not again.passed


@pytest.mark.long
def test_evaluations_of_one_finding_replace_each_other(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    """The event log must not grow with every minute; successive different findings are kept."""
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    receiver = Receiver(deployment, instance)
    for minutes in range(20):
        receiver.tick(minutes)
    deployment.succeed("partial_loaddata")
    for minutes in range(20, 40):
        receiver.tick(minutes)
    found = written(instance, UP_TO_DATE)
    assert [passed for passed, _ in found] == [False, False, True, True]
    assert len({said for _, said in found}) == 4
    logged = instance.all_logs("", of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    assert len(logged) == len(found)


@pytest.mark.long
def test_finding_that_a_later_materialization_hides_is_written_again(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    """A tick during a load: its evaluation is older than the materialization of the load."""
    receiver = Receiver(deployment, instance)
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    assert isinstance(receiver.tick(1), dg.AssetCheckEvaluation)
    assert isinstance(receiver.tick(1), str), "it says so already"

    @dg.asset(key=UP_TO_DATE.asset_key)
    def made_by_a_run() -> None: ...

    assert dg.materialize([made_by_a_run], instance=instance).success
    assert not is_shown(instance, UP_TO_DATE)
    again = receiver.tick(1)
    assert isinstance(again, dg.AssetCheckEvaluation)
    assert again.passed
    assert "min behind" in str(again.description)
    assert is_shown(instance, UP_TO_DATE)
    assert isinstance(receiver.tick(1), str)


@pytest.mark.long
@pytest.mark.parametrize("who", ["a sensor", "another run"])
def test_finding_of_a_run_is_shown_although_another_was_recorded_while_it_was_planned(
    deployment: Deployment, instance: dg.DagsterInstance, who: str
) -> None:
    receiver = Receiver(deployment, instance)
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    site = receiver.site(datetime.now(UTC))

    @dg.asset(key=UP_TO_DATE.asset_key)
    def overtaken() -> None:
        if who == "a sensor":
            assert isinstance(receiver.tick(1), dg.AssetCheckEvaluation)
        else:
            deployment.succeed("partial_loaddata")

    ran = dg.materialize([overtaken, up_to_date_check(site)], instance=instance)
    assert ran.success
    record = instance.get_latest_asset_check_evaluation_record(UP_TO_DATE)
    assert record is not None
    assert record.run_id == ran.run_id
    assert is_shown(instance, UP_TO_DATE)


@pytest.mark.long
def test_finding_of_a_transform_is_shown_although_a_sensor_recorded_one_meanwhile(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    site = Receiver(deployment, instance).site(datetime.now(UTC))
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")

    class Overtaken:
        def run(self, context: dg.AssetExecutionContext) -> dict[str, int]:
            answer = postprocess_sensor(site)(dg.build_sensor_context(context.instance))
            assert isinstance(answer, dg.SensorResult)
            for event in answer.asset_events:
                instance.report_runless_asset_event(event)
            return {}

    assert dg.materialize([postprocess_asset(site, Overtaken())], instance=instance).success
    for spec in check_specs(site):
        assert is_shown(instance, spec.key)


def test_a_database_that_does_not_answer_is_no_verdict_and_no_secret(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    deployment.receiver_changes["AR_SYNC_RECEIVER_DATABASE_URL"] = (
        "postgresql://someone:secret-word@127.0.0.1:1/nowhere"
    )
    said = Receiver(deployment, instance).tick(0)
    assert isinstance(said, str)
    assert said.startswith("The checks could not be evaluated. ")
    assert "127.0.0.1:1/nowhere" in said
    assert "secret-word" not in said


@pytest.mark.long
def test_a_verdict_that_nobody_can_give_for_long_is_not_left_green(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    receiver = Receiver(deployment, instance)
    receiver.tick(0)
    deployment.receiver_changes["AR_SYNC_RECEIVER_DATABASE_URL"] = "postgresql://a@127.0.0.1:1/b"
    for minutes in (5, 9):
        shown = receiver.tick(minutes)
        assert isinstance(shown, dg.AssetCheckEvaluation)
        assert shown.passed, "a short outage changes no verdict"
        assert lag_in(shown) - minutes in {0, 1}
        assert "127.0.0.1:1/b cannot be reached" in str(shown.description)
    unknown = receiver.tick(12)
    assert isinstance(unknown, dg.AssetCheckEvaluation)
    assert not unknown.passed
    assert "127.0.0.1:1/b" in str(unknown.description)
    assert lag_in(unknown) - 12 in {0, 1}


def lag_in(shown: dg.AssetCheckEvaluation) -> int:
    """Return the minutes that an evaluation says."""
    said = re.search(r"UTC, (\d+) min behind, because ", str(shown.description))
    assert said is not None, shown.description
    return int(said[1])


@pytest.mark.long
def test_data_that_becomes_late_during_an_outage_is_shown_at_once_and_mailed_if_that_lasts(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    """The error is the incident: its metadata makes it one with what else fails by it."""
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    receiver = Receiver(deployment, instance)
    receiver.tick(25)
    url = deployment.receiver_url
    deployment.receiver_changes["AR_SYNC_RECEIVER_DATABASE_URL"] = "postgresql://a@127.0.0.1:1/b"
    brief, late = receiver.tick(29), receiver.tick(32)
    assert isinstance(brief, dg.AssetCheckEvaluation)
    assert isinstance(late, dg.AssetCheckEvaluation)
    assert (brief.passed, late.passed) == (True, False)
    assert late.metadata["error"].value == "database-unreachable"
    due = datetime.fromtimestamp(float(str(late.metadata[NO_MAIL_BEFORE].value)), UTC)
    assert timedelta(minutes=34) < due - datetime.now(UTC) < timedelta(minutes=36)
    lasting = receiver.tick(36)
    assert isinstance(lasting, dg.AssetCheckEvaluation)
    assert NO_MAIL_BEFORE not in lasting.metadata
    assert unchanged_since(lasting) == unchanged_since(late)
    deployment.receiver_changes["AR_SYNC_RECEIVER_DATABASE_URL"] = url
    back = receiver.tick(37)
    assert isinstance(back, dg.AssetCheckEvaluation)
    assert "error" not in back.metadata


@pytest.mark.long
def test_locked_ledger_is_told_before_dagster_ends_the_tick(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    receiver = Receiver(deployment, instance)
    receiver.tick(0)
    with psycopg.connect(deployment.receiver_url) as other:
        other.execute("LOCK TABLE ar_sync.applied_archive")
        begun = time.monotonic()
        shown = receiver.tick(1)
        assert time.monotonic() - begun < 30
    assert isinstance(shown, dg.AssetCheckEvaluation)
    assert shown.passed
    assert "canceling statement due to lock timeout" in str(shown.description)


@pytest.mark.long
def test_failure_stays_as_it_was_during_an_outage_and_is_not_over_after_a_pause(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    receiver = Receiver(deployment, instance)
    late = receiver.tick(40)
    deployment.receiver_changes["AR_SYNC_RECEIVER_DATABASE_URL"] = "postgresql://a@127.0.0.1:1/b"
    assert isinstance(receiver.tick(41), str)
    assert recorded(instance, UP_TO_DATE) == late
    after_a_pause = receiver.tick(90)
    assert isinstance(after_a_pause, str)
    assert not recorded(instance, UP_TO_DATE).passed


@pytest.mark.long
def test_error_that_is_no_outage_fails_the_check_at_once_with_the_number(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    receiver = Receiver(deployment, instance)
    receiver.tick(0)
    folder = deployment.spool / "partial"
    folder.rename(deployment.spool / "elsewhere")
    folder.touch()
    for minutes in (3, 4):
        found = receiver.tick(minutes)
        assert isinstance(found, dg.AssetCheckEvaluation)
        assert not found.passed
        assert lag_in(found) - minutes in {0, 1}
        assert f"behind, because {folder}" in str(found.description)


@pytest.mark.long
def test_a_window_without_an_archive_is_missing_when_two_later_ones_have_ended(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    deployment.succeed("partial_dump")
    assert recorded(instance, NO_GAP).passed, "a dump ends with the check"
    event = instance.get_latest_materialization_event(NO_GAP.asset_key)
    assert event is not None
    assert event.asset_materialization is not None
    window = datetime.fromisoformat(str(event.asset_materialization.partition))

    def at(minutes: int) -> dg.AssetCheckResult:
        settings = load_sender_settings(deployment.sender_environment())
        now = window + timedelta(minutes=minutes)
        site = SenderSite(settings, load_catalog(settings.catalog), lambda: now)
        windows = window_partitions(now, days_back=30, interval_minutes=5)
        return check_for_gaps(site, windows, instance).result

    assert at(18).passed
    gap = at(25)
    assert (gap.passed, gap.severity) == (False, dg.AssetCheckSeverity.WARN)
    first = window + timedelta(minutes=5)
    assert gap.description == (
        f"2 windows have no archive: {first:%Y-%m-%dT%H:%MZ},"
        f" {first + timedelta(minutes=5):%Y-%m-%dT%H:%MZ}."
    )


@pytest.mark.long
def test_a_ledger_that_no_load_writes_is_stale_long_before_the_quiet_tables(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    graph = deployment.receiver_definitions().resolve_asset_graph()

    def state(*path: str) -> FreshnessState:
        evaluation = TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(
            LoadingContextForTest(instance), graph.get(dg.AssetKey(path))
        )
        return asyncio.run(evaluation)

    def states() -> tuple[FreshnessState, FreshnessState]:
        return state("receiver", "applied_archives"), state("receiver", "tables", "app_child")

    assert instance.freshness_enabled
    assert states() == (FreshnessState.PASS, FreshnessState.PASS)
    now = datetime.now(UTC)
    with time_machine.travel(now + timedelta(minutes=31)):
        assert states() == (FreshnessState.FAIL, FreshnessState.PASS)
    with time_machine.travel(now + timedelta(hours=27)):
        assert states() == (FreshnessState.FAIL, FreshnessState.WARN)


def test_spool_without_folders_is_one_whose_first_load_has_not_begun(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    (deployment.spool / "receipts").rmdir()
    load_at_work(deployment, instance)
    found = Receiver(deployment, instance).tick(0)
    assert isinstance(found, dg.AssetCheckEvaluation)
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert found.description == (
        "The receiver holds no data yet, because no complete archive has been applied."
    )


@pytest.mark.long
def test_lag_is_shown_also_while_the_sender_cannot_be_told(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    load_at_work(deployment, instance)
    with small_disk(deployment.spool / "receipts"):
        found = Receiver(deployment, instance).tick(1)
    assert isinstance(found, dg.AssetCheckEvaluation)
    assert found.passed
    assert "min behind" in str(found.description)
    assert "The sender is not told: " in str(found.description)
    assert "No space left" in str(found.description)


@pytest.mark.long
def test_only_a_load_that_works_is_reported_to_the_sender(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    """The sender's mail waits for it: not for a run in the queue, nor for one that fails again."""
    receiver = Receiver(deployment, instance)
    report = deployment.spool / "receipts" / LoadAtWork.FILE

    def is_reported(minutes: int) -> bool:
        report.unlink(missing_ok=True)
        receiver.tick(minutes)
        return report.exists()

    job = deployment.receiver_definitions().resolve_job_def("partial_loaddata")
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED)
    assert not is_reported(0)
    works = load_at_work(deployment, instance)
    assert is_reported(1)
    instance.report_run_failed(works)
    assert not is_reported(2)
    load_at_work(deployment, instance)
    assert not is_reported(3)
    assert is_reported(10), "one that works for so long may be a long one"


def load_at_work(deployment: Deployment, instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Record a run that has started."""
    job = deployment.receiver_definitions().resolve_job_def("complete_loaddata")
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTING)
    started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=job.name)
    instance.report_dagster_event(started, run.run_id)
    return run


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Put a full file system over a folder."""
    require_root("mount a small disk")
    held = {path.name: path.read_bytes() for path in folder.iterdir()}
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0755", "tmpfs", folder], check=True
    )
    try:
        for name, content in held.items():
            (folder / name).write_bytes(content)
        with suppress(OSError), (folder / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
