"""Early runs: requested before the end of their window, and never twice or instead of another."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.windows import KEY_FORMAT, window_partitions
from ar_sync_pipeline.sender.early_runs import early_sensor
from ar_sync_pipeline.sender.jobs import partial_dump
from ar_sync_pipeline.sender.window_requests import WindowRequests
from ar_sync_pipeline_tests.fix_dagster import stop_schedule

KEY = archive_key(ArchiveKind.PARTIAL, ALONE)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
INTERVAL = 5 * MINUTE
OPENED = datetime(2026, 11, 29, 10, 0, tzinfo=UTC)
ENDED = OPENED + INTERVAL
STARTED = dg.DagsterRunStatus.STARTED


@dataclass
class Sender:
    """The sensor of early runs and the schedule's decision, over windows of five minutes."""

    instance: dg.DagsterInstance
    clock: time_machine.Traveller
    run_keys: set[str] = field(default_factory=set)

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def at(self, moment: datetime) -> None:
        self.clock.move_to(moment)

    def early_tick(self, instance: dg.DagsterInstance | None = None) -> object:
        windows = self._windows()
        sensor = early_sensor(
            partial_dump(ALONE),
            windows,
            lambda: self.now,
            ALONE,
            interval=INTERVAL,
            early=30 * SECOND,
        )
        return sensor(dg.build_sensor_context(instance or self.instance))

    def schedule_tick(self) -> dg.RunRequest | dg.SkipReason:
        requests = WindowRequests("partial_dump", self._windows(), lambda: self.now, ALONE)
        return requests.request(self.instance, self.now, f"{self.now}", logging.getLogger)

    def start(self, answer: object) -> dg.DagsterRun | None:
        """Start the requested run as the daemon does: at most one for each run key."""
        if not isinstance(answer, dg.RunRequest) or answer.run_key in self.run_keys:
            return None
        self.run_keys.add(str(answer.run_key))
        run = create_run_for_test(
            self.instance, job_name="partial_dump", status=STARTED, tags=dict(answer.tags)
        )
        assert isinstance(run, dg.DagsterRun)
        return run

    def sends(self, run: dg.DagsterRun) -> None:
        """Record the archive of all windows of a run, and its success."""
        for window in windows_of(run.tags):
            self.instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=window))
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, job_name="partial_dump")
        self.instance.report_dagster_event(event, run.run_id)

    def sent(self) -> Counter[str | None]:
        records = self.instance.fetch_materializations(KEY, limit=10_000).records
        return Counter(record.partition_key for record in records)

    def _windows(self) -> dg.TimeWindowPartitionsDefinition:
        return window_partitions(self.now, days_back=14, interval_minutes=5, first=OPENED)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    home = tmp_path_factory.mktemp("home")
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made


@pytest.fixture
def sender(instance: dg.DagsterInstance) -> Iterator[Sender]:
    instance.wipe()
    instance.wipe_all_schedules()
    with time_machine.travel(OPENED, tick=False) as clock:
        yield Sender(instance, clock)


def key_of(start: datetime) -> str:
    return start.strftime(KEY_FORMAT)


def start_of(key: str) -> datetime:
    return datetime.strptime(key, KEY_FORMAT).replace(tzinfo=UTC)


def windows_of(tags: Mapping[str, str]) -> list[str]:
    start, last = (
        start_of(tags[f"dagster/asset_partition_range_{end}"]) for end in ("start", "end")
    )
    return [key_of(start + number * INTERVAL) for number in range((last - start) // INTERVAL + 1)]


def requested(answer: object) -> list[str]:
    assert isinstance(answer, dg.RunRequest), answer
    return windows_of(dict(answer.tags))


def reason(answer: object) -> str:
    assert isinstance(answer, dg.SkipReason), answer
    return answer.skip_message or ""


@pytest.mark.parametrize("seconds", [119, 30, 8])
def test_run_of_open_window_is_requested_before_its_end(sender: Sender, seconds: int) -> None:
    sender.at(ENDED - seconds * SECOND)
    assert requested(sender.early_tick()) == [key_of(OPENED)]


def test_long_before_the_end_a_tick_does_not_use_the_storage(sender: Sender) -> None:
    sender.at(ENDED - 150 * SECOND)
    with dg.DagsterInstance.ephemeral() as closed:
        pass
    assert "ends at 10:05 UTC" in reason(sender.early_tick(closed))


def test_last_seconds_are_the_schedules(sender: Sender) -> None:
    sender.at(ENDED - 4 * SECOND)
    assert "the schedule requests its run" in reason(sender.early_tick())
    sender.at(ENDED)
    assert requested(sender.schedule_tick()) == [key_of(OPENED)]


def test_early_run_takes_missing_windows_along(sender: Sender) -> None:
    sender.at(OPENED + 4 * INTERVAL - 30 * SECOND)
    assert requested(sender.early_tick()) == [key_of(OPENED + n * INTERVAL) for n in range(4)]


def test_schedule_skips_while_the_early_run_waits_or_works(sender: Sender) -> None:
    sender.at(ENDED - 30 * SECOND)
    run = sender.start(sender.early_tick())
    assert run is not None
    sender.at(ENDED)
    assert run.run_id in reason(sender.schedule_tick())
    sender.sends(run)
    assert reason(sender.schedule_tick()) == "No window is missing."


def test_early_run_that_was_terminated_is_left_to_the_schedule(sender: Sender) -> None:
    sender.at(ENDED - 60 * SECOND)
    run = sender.start(sender.early_tick())
    assert run is not None
    sender.instance.report_run_canceled(run)
    sender.at(ENDED - 20 * SECOND)
    assert sender.start(sender.early_tick()) is None
    sender.at(ENDED)
    assert requested(sender.schedule_tick()) == [key_of(OPENED)]


def test_pause_after_failures_holds_for_early_runs(sender: Sender) -> None:
    sender.at(ENDED - 110 * SECOND)
    for _ in range(3):
        failing = create_run_for_test(sender.instance, job_name="partial_dump", status=STARTED)
        sender.instance.report_run_failed(failing)
    sender.at(ENDED - 10 * SECOND)
    assert reason(sender.early_tick()).startswith("3 runs in a row have failed")


def test_no_early_run_while_runs_wait_for_a_slot_of_the_instance(sender: Sender) -> None:
    location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("another_pair"), "jobs")
    create_run_for_test(
        sender.instance,
        status=dg.DagsterRunStatus.QUEUED,
        remote_job_origin=RemoteJobOrigin(location, "complete_dump"),
    )
    sender.at(ENDED - 30 * SECOND)
    assert "wait for a slot" in reason(sender.early_tick())


def test_no_early_run_while_the_schedule_is_stopped(sender: Sender) -> None:
    stop_schedule(sender.instance, "partial_dump_schedule")
    sender.at(ENDED - 30 * SECOND)
    assert "partial_dump_schedule is stopped" in reason(sender.early_tick())


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_every_window_is_sent_once_whatever_fails(sender: Sender, seed: int) -> None:
    """Daemons are down, runs fail, are killed or terminated while they wait or work."""
    chance, under_way = random.Random(seed), None  # noqa: S311  what happens in a test
    for number in range(12):
        end = OPENED + (number + 1) * INTERVAL
        is_quiet = number >= 9
        for before in sorted(chance.sample(range(2, 120), 3), reverse=True):
            sender.at(end - before * SECOND)
            under_way = ends_somehow(sender, under_way, chance, is_quiet)
            if is_quiet or chance.random() < 0.8:
                under_way = sender.start(sender.early_tick()) or under_way
        under_way = ends_somehow(sender, under_way, chance, is_quiet, is_open=True)
        sender.at(end)
        if is_quiet or chance.random() < 0.8:
            under_way = sender.start(sender.schedule_tick()) or under_way
        sender.at(end + 2 * SECOND)
        under_way = ends_somehow(sender, under_way, chance, is_quiet)
    assert sender.sent() == Counter({key_of(OPENED + n * INTERVAL): 1 for n in range(12)})


def ends_somehow(
    sender: Sender,
    run: dg.DagsterRun | None,
    chance: random.Random,
    is_quiet: bool,
    *,
    is_open: bool = False,
) -> dg.DagsterRun | None:
    """End a run, or let it continue; it sends its windows only when the last one has ended."""
    if run is None:
        return None
    last = start_of(windows_of(dict(run.tags))[-1])
    fate = 1.0 if is_quiet else chance.random()
    if fate < 0.1:
        sender.instance.report_run_failed(run)
    elif fate < 0.15:
        sender.instance.report_run_canceled(run)
    elif fate > 0.4 and not is_open and sender.now >= last + INTERVAL:
        sender.sends(run)
    else:
        return run
    return None
