"""When the schedule of partials requests a run, when it skips, and its skip reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.windows import KEY_FORMAT, window_partitions
from ar_sync_pipeline.sender.jobs import partial_dump
from ar_sync_pipeline.sender.missing_windows import MissingWindows
from ar_sync_pipeline.sender.schedules import partial_schedule

KEY = archive_key(ArchiveKind.PARTIAL, ALONE)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SENDER = {"ar_sync/side": "sender"}


@dataclass
class Ticks:
    """The schedule, an instance, and a clock that a test sets; windows of five minutes."""

    instance: dg.DagsterInstance
    now: datetime
    installed: datetime | None = None

    def tick(self, *, late: timedelta = timedelta()) -> dg.RunRequest | dg.SkipReason:
        windows = window_partitions(
            self.now, days_back=14, interval_minutes=5, first=self.installed
        )
        schedule = partial_schedule(partial_dump(ALONE), windows, lambda: self.now, ALONE)
        with dg.build_schedule_context(
            instance=self.instance, scheduled_execution_time=self.now - late
        ) as context:
            answer = schedule(context)
        assert isinstance(answer, dg.RunRequest | dg.SkipReason)
        return answer

    def asks_for(self, *, late: timedelta = timedelta()) -> tuple[str, str]:
        """Return the first and the last window that are requested."""
        request = self.tick(late=late)
        assert isinstance(request, dg.RunRequest), request
        return (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )

    def waits_because(self) -> str:
        answer = self.tick()
        assert isinstance(answer, dg.SkipReason), answer
        return answer.skip_message or ""

    def window(self, ago: timedelta) -> str:
        """Return the last window that had ended some time ago."""
        end = self.now - ago
        end -= timedelta(minutes=end.minute % 5, seconds=end.second, microseconds=end.microsecond)
        return (end - 5 * MINUTE).strftime(KEY_FORMAT)

    def dumped(self, *ago: timedelta) -> None:
        for each in ago:
            self.instance.report_runless_asset_event(
                dg.AssetMaterialization(KEY, partition=self.window(each))
            )

    def fails(self, times: int) -> None:
        for _ in range(times):
            self.instance.report_run_failed(self.run(dg.DagsterRunStatus.STARTED))

    def run(
        self, status: dg.DagsterRunStatus, job: str = "partial_dump", **more: object
    ) -> dg.DagsterRun:
        run = create_run_for_test(self.instance, job_name=job, status=status, **more)
        assert isinstance(run, dg.DagsterRun)
        return run


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    home = tmp_path_factory.mktemp("home")
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made


@pytest.fixture
def ticks(instance: dg.DagsterInstance) -> Ticks:
    instance.wipe()
    return Ticks(instance, datetime.now(UTC))


@pytest.mark.parametrize(
    ("failures", "minutes"), [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (12, 30)]
)
@pytest.mark.long
def test_pause_grows_with_failures_in_a_row_and_is_said(
    ticks: Ticks, failures: int, minutes: int
) -> None:
    ticks.fails(failures)
    (last,) = ticks.instance.get_run_records(limit=1)
    failed_at = datetime.fromtimestamp(last.end_time or 0, UTC)
    ticks.now = failed_at + minutes * MINUTE - timedelta(seconds=20)
    reason = ticks.waits_because()
    failed = "1 run has failed" if failures == 1 else f"{failures} runs in a row have failed"
    assert reason.startswith(failed)
    assert f"{failed_at + minutes * MINUTE:%H:%M:}" in reason
    ticks.now = failed_at + minutes * MINUTE + timedelta(seconds=1)
    assert ticks.asks_for()[1] == ticks.window(timedelta())


@pytest.mark.parametrize("job", ["complete_dump", "ssh_sftp_checker", "partial_dump"])
@pytest.mark.long
def test_success_of_the_sender_ends_the_pause(ticks: Ticks, job: str) -> None:
    ticks.fails(6)
    succeeding = ticks.run(dg.DagsterRunStatus.STARTED, job, tags=SENDER)
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, job_name=job)
    ticks.instance.report_dagster_event(event, succeeding.run_id)
    ticks.now = datetime.now(UTC)
    assert ticks.asks_for()[1] == ticks.window(timedelta())


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ],
)
def test_nothing_is_requested_while_a_run_of_the_job_is_under_way(
    ticks: Ticks, status: dg.DagsterRunStatus
) -> None:
    run = ticks.run(status)
    assert run.run_id in ticks.waits_because()


def test_nothing_is_requested_while_a_run_that_the_ui_started_is_under_way(ticks: Ticks) -> None:
    run = ticks.run(dg.DagsterRunStatus.STARTED, "__ASSET_JOB", asset_selection=frozenset({KEY}))
    assert run.run_id in ticks.waits_because()


def test_nothing_is_requested_while_a_backfill_has_no_run_yet(ticks: Ticks) -> None:
    ticks.instance.add_backfill(
        PartitionBackfill(
            "of_operator",
            BulkActionStatus.REQUESTED,
            from_failure=False,
            tags={},
            backfill_timestamp=ticks.now.timestamp(),
            asset_selection=[KEY],
            serialized_asset_backfill_data="",
        )
    )
    assert "of_operator" in ticks.waits_because()


def test_nothing_is_requested_before_a_lost_run_is_retried(ticks: Ticks) -> None:
    lost = ticks.run(dg.DagsterRunStatus.STARTED)
    ticks.instance.report_run_failed(lost)
    ticks.instance.add_run_tags(lost.run_id, {"dagster/will_retry": "true"})
    ticks.now = datetime.now(UTC) + MINUTE
    assert lost.run_id in ticks.waits_because()
    ticks.instance.add_run_tags(lost.run_id, {"dagster/auto_retry_run_id": "another"})
    ticks.now += MINUTE
    assert ticks.asks_for()


def test_run_of_other_assets_is_no_reason_to_wait(ticks: Ticks) -> None:
    ticks.dumped(3 * HOUR)
    ticks.run(dg.DagsterRunStatus.STARTED, "complete_dump", tags=SENDER)
    assert ticks.asks_for() == (ticks.window(3 * HOUR - 5 * MINUTE), ticks.window(timedelta()))


def test_first_tick_that_a_daemon_makes_up_for_takes_all_windows_along(ticks: Ticks) -> None:
    ticks.dumped(3 * HOUR)
    assert ticks.asks_for(late=2 * HOUR)[1] == ticks.window(timedelta())


def test_first_run_takes_all_windows_since_the_installation_along(ticks: Ticks) -> None:
    ticks.installed = datetime.strptime(ticks.window(HOUR), KEY_FORMAT).replace(tzinfo=UTC)
    assert ticks.asks_for() == (ticks.window(HOUR), ticks.window(timedelta()))


def test_first_run_leaves_windows_alone_that_an_older_installation_may_have_dumped(
    ticks: Ticks,
) -> None:
    assert ticks.asks_for() == (ticks.window(timedelta()), ticks.window(timedelta()))


def test_run_that_was_given_no_window_hides_no_missing_one(ticks: Ticks) -> None:
    ticks.instance.report_runless_asset_event(dg.AssetMaterialization(KEY))
    ticks.dumped(HOUR)
    assert ticks.asks_for()[0] == ticks.window(HOUR - 5 * MINUTE)


def test_windows_before_the_horizon_are_named_with_what_to_do() -> None:
    older = ("2026-11-01T00:00Z", "2026-11-01T00:05Z")
    words = MissingWindows((), older, "partial/archive").older_in_words or ""
    assert words.startswith("2 windows from 2026-11-01T00:00Z to 2026-11-01T00:05Z have no archive")
    assert "materialize partial/archive" in words


def test_run_over_recent_windows_has_the_older_ones_as_a_tag(ticks: Ticks) -> None:
    ticks.dumped(14 * HOUR)
    request = ticks.tick()
    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/asset_partition_range_start"] >= ticks.window(12 * HOUR)
    assert request.tags["ar_sync/missing_older_windows"].startswith(
        ticks.window(14 * HOUR - 5 * MINUTE)
    )
