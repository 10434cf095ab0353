"""The sender's clock was wrong and is set right: partials continue, and checks say so if not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.sensor import get_elapsed

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.runs.run_state import (
    failures_in_a_row,
    has_last_run_failed,
    last_success,
    work_under_way,
)
from ar_sync_pipeline.operations.standing_check import Evaluation
from ar_sync_pipeline.operations.windows import KEY_FORMAT, window_partitions
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.window_check import check_for_gaps
from ar_sync_pipeline.sender.window_requests import WindowRequests
from ar_sync_pipeline.settings.model import load_sender_settings
from ar_sync_pipeline_tests.fix_dagster import Deployment, stop_schedule

KEY = archive_key(ArchiveKind.PARTIAL, ALONE)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TRUE = datetime(2026, 11, 29, 10, 0, tzinfo=UTC)
SENDER = {"ar_sync/side": "sender"}
JOB = "partial_dump"


@dataclass
class Sender:
    """Schedule and check over a clock that a test sets; each request is dumped at once."""

    instance: dg.DagsterInstance
    clock: time_machine.Traveller
    site: SenderSite
    minutes: int = 5
    installed: datetime | None = TRUE - 2 * DAY

    @property
    def interval(self) -> timedelta:
        return timedelta(minutes=self.minutes)

    def windows(self) -> dg.TimeWindowPartitionsDefinition:
        return window_partitions(
            datetime.now(UTC), days_back=14, interval_minutes=self.minutes, first=self.installed
        )

    def tick(self) -> dg.RunRequest | dg.SkipReason:
        requests = WindowRequests(JOB, self.windows(), lambda: datetime.now(UTC), ALONE)
        now = datetime.now(UTC)
        return requests.request(self.instance, now, f"{now}", logging.getLogger)

    def dump(self) -> list[str]:
        """Return the windows that a tick requests; their archive is recorded seconds later."""
        asked = self.tick()
        if isinstance(asked, dg.SkipReason):
            return []
        first, last = (
            asked.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end")
        )
        self.clock.shift(8)
        keys = self.windows().get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
        for key in keys:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=key))
        self.ends(dg.DagsterRunStatus.SUCCESS)
        return list(keys)

    def ends(self, status: dg.DagsterRunStatus, job: str = JOB, **tags: str) -> dg.DagsterRun:
        run = create_run_for_test(
            self.instance, job_name=job, status=dg.DagsterRunStatus.STARTED, tags={**SENDER, **tags}
        )
        kind = dg.DagsterEventType(f"PIPELINE_{status.value}")
        self.instance.report_dagster_event(dg.DagsterEvent(kind.value, job_name=job), run.run_id)
        assert isinstance(run, dg.DagsterRun)
        return run

    def work(self, start: datetime, until: datetime) -> None:
        """Tick at the end of each window, without an interruption, by the clock as it is set."""
        at = start
        while at <= until:
            self.clock.move_to(at)
            self.dump()
            at += self.interval

    def newest(self, at: datetime) -> str:
        return (at - self.interval).strftime(KEY_FORMAT)

    def check(self) -> Evaluation:
        return check_for_gaps(self.site, self.windows(), self.instance)


@pytest.fixture
def sender(deployment: Deployment) -> Iterator[Sender]:
    settings = load_sender_settings(deployment.sender_environment())
    with (
        dg.DagsterInstance.from_config(str(deployment.home)) as instance,
        time_machine.travel(TRUE, tick=False) as clock,
    ):
        site = SenderSite(settings, load_catalog(settings.catalog), lambda: datetime.now(UTC))
        yield Sender(instance, clock, site)


def hourly(sender: Sender) -> Sender:
    sender.minutes = 60
    sender.site.settings.__dict__["partial_interval"] = 60
    return sender


@pytest.mark.long
def test_every_window_is_dumped_at_its_time_after_a_clock_that_was_minutes_ahead(
    sender: Sender,
) -> None:
    sender.work(TRUE - HOUR, TRUE)
    sender.work(TRUE + 25 * MINUTE, TRUE + 60 * MINUTE)
    for number in range(8, 30):
        at = TRUE + number * sender.interval
        sender.clock.move_to(at)
        assert sender.newest(at) in sender.dump(), at
        assert sender.tick().skip_message == "No window is missing."  # type: ignore[union-attr]
        assert sender.check().result.passed


@pytest.mark.long
@pytest.mark.parametrize("ahead", [3 * HOUR, DAY, 3 * DAY, 20 * DAY])
def test_every_window_is_dumped_at_its_time_after_a_clock_that_was_ahead(
    sender: Sender, ahead: timedelta
) -> None:
    hourly(sender).work(TRUE - 5 * HOUR, TRUE)
    sender.work(TRUE + ahead, TRUE + ahead + 6 * HOUR)
    for number in range(6, min(ahead // HOUR, 80) + 10):
        at = TRUE + number * HOUR
        sender.clock.move_to(at)
        assert sender.newest(at) in sender.dump(), at
        assert sender.check().result.passed


@pytest.mark.long
@pytest.mark.parametrize("behind", [20 * MINUTE, 5 * HOUR, DAY])
def test_every_window_is_dumped_while_the_clock_is_behind_and_after_it_is_set(
    sender: Sender, behind: timedelta
) -> None:
    sender.installed = TRUE - 3 * DAY
    sender.work(TRUE - 2 * HOUR, TRUE)
    for number in range(12):
        at = TRUE - behind + number * sender.interval
        sender.clock.move_to(at)
        assert sender.newest(at) in sender.dump(), at
    for number in range(12, 16):
        at = TRUE + number * sender.interval
        sender.clock.move_to(at)
        assert sender.newest(at) in sender.dump(), at


@pytest.mark.long
@pytest.mark.parametrize("ahead", [DAY, 40 * MINUTE])
@pytest.mark.parametrize("is_first", [False, True])
def test_check_says_at_once_that_nothing_is_dumped_since_the_clock_was_set(
    sender: Sender, ahead: timedelta, is_first: bool
) -> None:
    """The schedule is stopped; if it is the first dump, the installation may be older."""
    if is_first:
        sender.installed = TRUE - 5 * DAY
    else:
        sender.work(TRUE - HOUR, TRUE)
    sender.work(TRUE + ahead, TRUE + ahead + 10 * MINUTE)
    stop_schedule(sender.instance, "partial_dump_schedule")
    for number in range(3, min(ahead // sender.interval, 20) + 1, 2):
        sender.clock.move_to(TRUE + number * sender.interval)
        look = sender.check()
        assert not look.result.passed, number
        assert "no archive" in str(look.result.description)


@pytest.mark.long
def test_check_says_that_windows_of_a_clock_that_was_ahead_are_missing_when_their_time_has_come(
    sender: Sender,
) -> None:
    sender.work(TRUE - HOUR, TRUE)
    sender.work(TRUE + 10 * HOUR, TRUE + 12 * HOUR)
    sender.work(TRUE + 15 * MINUTE, TRUE + 20 * MINUTE)
    stop_schedule(sender.instance, "partial_dump_schedule")
    sender.clock.move_to(TRUE + 11 * HOUR)
    missing = sender.check().result.metadata["missing_windows"]
    # Of the last windows of the true clock, to those that may be in a run that has just started.
    assert missing.value == (10 * HOUR + 40 * MINUTE) // sender.interval - 2


@pytest.mark.long
def test_backfill_of_an_old_window_makes_no_later_one_missing(sender: Sender) -> None:
    sender.work(TRUE - HOUR, TRUE)
    sender.clock.shift(MINUTE)
    old = sender.newest(TRUE - 30 * MINUTE)
    sender.instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=old))
    assert sender.dump() == []
    assert sender.check().result.passed


@pytest.mark.long
def test_first_dump_of_a_clock_that_was_ahead_is_not_the_first_window(sender: Sender) -> None:
    sender.installed = TRUE - 5 * DAY
    sender.work(TRUE + 30 * DAY, TRUE + 30 * DAY)
    sender.clock.move_to(TRUE)
    assert sender.newest(TRUE) in sender.dump()
    sender.clock.move_to(TRUE + HOUR)
    assert len(sender.dump()) == 12


def test_grid_that_begins_in_the_future_is_told_with_its_remedy(sender: Sender) -> None:
    """The code location was loaded while the clock was ahead."""
    sender.installed = TRUE + 2 * DAY
    told = "the first one begins at 2026-12-01 10:00 UTC. If this is in the future"
    assert told in (sender.tick().skip_message or "")  # type: ignore[union-attr]
    look = sender.check()
    assert not look.result.passed
    assert told in str(look.result.description)
    assert "restart its code server" in str(look.result.description)


@pytest.mark.long
def test_failures_of_a_clock_that_was_ahead_do_not_postpone_the_next_try(sender: Sender) -> None:
    sender.work(TRUE, TRUE)
    sender.clock.move_to(TRUE + DAY)
    for _ in range(3):
        sender.ends(dg.DagsterRunStatus.FAILURE)
    sender.clock.move_to(TRUE + 10 * MINUTE)
    assert isinstance(sender.tick(), dg.RunRequest)
    sender.ends(dg.DagsterRunStatus.FAILURE)
    assert "1 run has failed" in (sender.tick().skip_message or "")  # type: ignore[union-attr]
    sender.clock.shift(30)
    sender.ends(dg.DagsterRunStatus.SUCCESS, "ssh_sftp_checker")
    assert isinstance(sender.tick(), dg.RunRequest), "any success ends the pause"


def test_success_of_a_clock_that_was_ahead_hides_no_failure(sender: Sender) -> None:
    sender.work(TRUE + DAY, TRUE + DAY)
    sender.clock.move_to(TRUE)
    failed = datetime.now(UTC)
    sender.ends(dg.DagsterRunStatus.FAILURE)
    since = last_success(sender.instance, KEY, failed, job_names=[JOB])
    assert since is not None
    assert since > failed
    assert failures_in_a_row(sender.instance, JOB, since, failed) == [failed]
    assert "1 run has failed" in (sender.tick().skip_message or "")  # type: ignore[union-attr]


def test_success_after_the_clock_was_set_ends_a_failure_of_the_future(sender: Sender) -> None:
    sender.clock.move_to(TRUE + DAY)
    sender.ends(dg.DagsterRunStatus.FAILURE)
    assert has_last_run_failed(sender.instance, [JOB], KEY)
    sender.clock.move_to(TRUE)
    sender.ends(dg.DagsterRunStatus.SUCCESS)
    assert not has_last_run_failed(sender.instance, [JOB], KEY)


def test_second_attempt_that_a_clock_ahead_promised_is_not_waited_for(sender: Sender) -> None:
    sender.clock.move_to(TRUE + DAY)
    sender.ends(dg.DagsterRunStatus.FAILURE, **{"dagster/will_retry": "true"})
    assert work_under_way(sender.instance, JOB, KEY, datetime.now(UTC)) is not None
    sender.clock.move_to(TRUE)
    assert work_under_way(sender.instance, JOB, KEY, datetime.now(UTC)) is None


def test_daemon_of_dagster_waits_for_a_time_that_it_has_seen_until_its_history_is_wiped(
    sender: Sender,
) -> None:
    """`docs/runbook/clock_wrong.md` says so; the daemon declares all states again."""
    location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("sender"), "jobs")
    sensor = RemoteInstigatorOrigin(location, "window_gaps")
    seen = SensorInstigatorData(last_tick_start_timestamp=(TRUE + DAY).timestamp())
    status = InstigatorStatus.DECLARED_IN_CODE
    state = InstigatorState(sensor, InstigatorType.SENSOR, status, seen)
    sender.instance.add_instigator_state(state)
    (stored,) = sender.instance.all_instigator_state()
    elapsed = get_elapsed(stored)
    assert elapsed is not None
    assert elapsed < 0
    sender.instance.wipe_all_schedules()
    assert sender.instance.all_instigator_state() == []
