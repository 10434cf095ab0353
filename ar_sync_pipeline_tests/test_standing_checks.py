"""What grows old while nothing runs: seen by sensors and by the daemon, written only as news."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.loader import LoadingContextForTest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.operations.asset_keys import applied_archives_key, archive_key
from ar_sync_pipeline.operations.windows import window_partitions
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.up_to_date_check import up_to_date_sensor
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.window_check import look_for_gaps
from ar_sync_pipeline.settings import load_receiver_settings, load_sender_settings
from ar_sync_pipeline_tests.fix_dagster import Deployment

UP_TO_DATE = dg.AssetCheckKey(applied_archives_key(), "up_to_date")
NO_GAP = dg.AssetCheckKey(archive_key(ArchiveKind.PARTIAL), "no_gap_in_windows")


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

    def tick(self, minutes: float) -> dg.AssetCheckEvaluation | str:
        """What a tick writes, recorded as the daemon does it; or why it writes nothing."""
        settings = load_receiver_settings(self.deployment.receiver_environment())
        now = datetime.now(UTC) + timedelta(minutes=minutes)
        site = ReceiverSite(settings, load_catalog(settings.catalog), lambda: now)
        context = dg.build_sensor_context(self.instance, cursor=self.cursor)
        answer = up_to_date_sensor(site)(context)
        if isinstance(answer, dg.SkipReason):
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


def test_a_receiver_that_falls_behind_is_told_once_and_again_when_twice_as_late(
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
    assert isinstance(receiver.tick(0), dg.AssetCheckEvaluation)
    assert "29 min behind, because no newer archive has arrived" in str(receiver.tick(29))

    late = receiver.tick(47)
    assert isinstance(late, dg.AssetCheckEvaluation)
    assert (late.passed, late.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert str(late.description).startswith("Data until 2")
    assert "UTC, 47 min behind, because no newer archive has arrived." in str(late.description)
    assert not recorded(instance, UP_TO_DATE).passed
    assert "59 min behind" in str(receiver.tick(59)), "skipped, with the reason"
    assert isinstance(receiver.tick(61), dg.AssetCheckEvaluation)
    assert isinstance(receiver.tick(90), str)

    deployment.succeed("partial_loaddata")
    assert recorded(instance, UP_TO_DATE).passed
    again = receiver.tick(90)
    assert isinstance(again, dg.AssetCheckEvaluation), "a run has written another verdict since"
    assert not again.passed


def test_finding_that_a_later_materialization_hides_is_written_again(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    """A tick in the middle of a load: what it writes is older than what the load then makes."""
    receiver = Receiver(deployment, instance)
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    assert isinstance(receiver.tick(0), dg.AssetCheckEvaluation)
    assert isinstance(receiver.tick(1), str)

    @dg.asset(key=UP_TO_DATE.asset_key)
    def made_by_a_run() -> None: ...

    assert dg.materialize([made_by_a_run], instance=instance).success
    assert not is_shown(instance, UP_TO_DATE)
    time.sleep(1.1)  # SQLite notes the second in which a record was made
    written = receiver.tick(1)
    assert isinstance(written, dg.AssetCheckEvaluation)
    assert written.passed
    assert "min behind" in str(written.description)
    assert is_shown(instance, UP_TO_DATE)
    assert isinstance(receiver.tick(1), str)


def is_shown(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> bool:
    """As the UI's resolver `executionForLatestMaterialization` decides it."""
    record = instance.get_latest_asset_check_evaluation_record(key)
    assert record is not None
    return asyncio.run(record.targets_latest_materialization(LoadingContextForTest(instance)))


def test_a_database_that_does_not_answer_is_no_verdict_and_no_secret(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    deployment.receiver_changes["AR_SYNC_RECEIVER_DATABASE_URL"] = (
        "postgresql://someone:secret-word@127.0.0.1:1/nowhere"
    )
    said = Receiver(deployment, instance).tick(0)
    assert isinstance(said, str)
    assert said.startswith("No look was possible. ")
    assert "127.0.0.1:1/nowhere" in said
    assert "secret-word" not in said


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
        return look_for_gaps(site, windows, instance).result

    assert at(18).passed
    gap = at(25)
    assert (gap.passed, gap.severity) == (False, dg.AssetCheckSeverity.WARN)
    first = window + timedelta(minutes=5)
    assert gap.description == (
        f"2 windows have no archive: {first:%Y-%m-%dT%H:%MZ},"
        f" {first + timedelta(minutes=5):%Y-%m-%dT%H:%MZ}."
    )


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
