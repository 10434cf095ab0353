"""Loads that are started early: only on a fresh announcement, and without a trace if in vain."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline.operations.asset_keys import admitted_key, applied_archives_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver import admission_asset
from ar_sync_pipeline.receiver.jobs import intake_of
from ar_sync_pipeline.spool.announcement import ANNOUNCEMENT_FILE, Announcement
from ar_sync_pipeline_tests.fix_dagster import Deployment, is_shown
from ar_sync_pipeline_tests.fix_sites import execute, rows
from ar_sync_pipeline_tests.waiting import until

LEDGER, ADMITTED = applied_archives_key(ALONE), admitted_key(ALONE)
CHILDREN = "SELECT id, amount FROM app_child ORDER BY id"
KEY = "k5Xw9qLr2vTzB8nYpEcJ4sHdGfAm7uR3"


@dataclass
class Receiver:
    """A receiver with a complete, and what the sender has announced."""

    deployment: Deployment
    instance: dg.DagsterInstance

    @property
    def file(self) -> Path:
        return self.deployment.spool / ".incoming" / ANNOUNCEMENT_FILE

    def announced(self, seconds: float = 15, keys: tuple[bytes, ...] = ()) -> Announcement:
        made = Announcement(announcement_id=uuid4(), seconds=seconds)
        self.file.write_bytes(made.signed(keys).to_bytes())
        return made

    def tick(self) -> object:
        sensor = self.deployment.receiver_definitions().resolve_sensor_def("new_partial_archives")
        with dg.build_sensor_context(self.instance) as context:
            return sensor(context)

    def load(
        self,
        until: datetime | float,
        tags: dict[str, str] | None = None,
        kinds: Sequence[str] = ("partial",),
    ) -> dg.ExecuteInProcessResult:
        job = self.deployment.receiver_definitions().resolve_job_def("partial_loaddata")
        config = intake_of(kinds, ALONE)
        seconds = until.timestamp() if isinstance(until, datetime) else until
        config["ops"][ADMITTED.to_python_identifier()]["config"]["waits_until"] = seconds
        return job.execute_in_process(
            instance=self.instance, run_config=config, raise_on_error=False, tags=tags
        )

    def shown(self) -> dict[str, dg.AssetCheckEvaluation]:
        """Return the evaluation of each check of a load, all of which the UI shows."""
        graph = self.deployment.receiver_definitions().resolve_asset_graph()
        found = {}
        for key in graph.asset_check_keys:
            if key.asset_key in (LEDGER, ADMITTED) and key.name not in ("preflight", "up_to_date"):
                record = self.instance.get_latest_asset_check_evaluation_record(key)
                assert record is not None, key
                assert is_shown(self.instance, key), key
                assert isinstance(record.evaluation, dg.AssetCheckEvaluation), key
                found[key.name] = record.evaluation
        return found


@pytest.fixture
def receiver(deployment: Deployment) -> Iterator[Receiver]:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        yield Receiver(deployment, instance)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.mark.long
def test_fresh_announcement_starts_one_load(receiver: Receiver) -> None:
    made = receiver.announced(seconds=15)
    first, second = receiver.tick(), receiver.tick()
    assert isinstance(first, dg.RunRequest)
    assert isinstance(second, dg.RunRequest)
    assert first.run_key == second.run_key == f"announced_{made.announcement_id}"
    (step,) = first.run_config["ops"].values()
    left = step["config"]["waits_until"] - time.time()
    assert 30 < left <= 35


@pytest.mark.long
def test_announcement_is_ignored_when_stale_forged_or_no_file(receiver: Receiver) -> None:
    receiver.announced(seconds=15)
    os.utime(receiver.file, (time.time() - 40,) * 2)
    assert isinstance(receiver.tick(), dg.SkipReason)
    receiver.announced(seconds=15)
    os.utime(receiver.file, (time.time() + 3600,) * 2)
    assert isinstance(receiver.tick(), dg.SkipReason)
    for content in (b"", b"{}", b"\0" * 100, b'{"seconds": 1e999}', b"[" * 70_000):
        receiver.file.write_bytes(content)
        assert isinstance(receiver.tick(), dg.SkipReason), content[:20]
    receiver.file.unlink()
    receiver.file.symlink_to("/etc/hostname")
    assert isinstance(receiver.tick(), dg.SkipReason)
    receiver.file.unlink()
    receiver.file.mkdir()
    assert isinstance(receiver.tick(), dg.SkipReason)
    receiver.file.rmdir()
    os.mkfifo(receiver.file)
    assert isinstance(receiver.tick(), dg.SkipReason)


@pytest.mark.long
def test_announcement_is_signed_where_archives_are(receiver: Receiver) -> None:
    receiver.deployment.receiver_changes["AR_SYNC_SIGNING_KEY"] = KEY
    receiver.announced()
    assert isinstance(receiver.tick(), dg.SkipReason)
    receiver.announced(keys=(KEY.encode(),))
    assert isinstance(receiver.tick(), dg.RunRequest)


@pytest.mark.long
def test_nothing_is_started_early_while_a_complete_waits_for_its_own_load(
    receiver: Receiver,
) -> None:
    receiver.deployment.succeed("complete_dump")
    receiver.announced()
    assert isinstance(receiver.tick(), dg.SkipReason)


@pytest.mark.long
def test_nothing_is_started_early_during_or_after_a_failed_load(receiver: Receiver) -> None:
    receiver.announced()
    started = dg.DagsterRunStatus.STARTED
    run = create_run_for_test(receiver.instance, job_name="partial_loaddata", status=started)
    answer = receiver.tick()
    assert isinstance(answer, dg.SkipReason)
    assert run.run_id in str(answer.skip_message)
    receiver.instance.report_run_failed(run)
    assert isinstance(receiver.tick(), dg.SkipReason)


@pytest.mark.parametrize(("pair", "is_started"), [([], False), (["lima"], True)])
def test_of_failed_runs_by_hand_only_those_of_this_pair_count(
    receiver: Receiver, pair: list[str], is_started: bool
) -> None:
    run = create_run_for_test(
        receiver.instance,
        job_name="__ASSET_JOB",
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset({dg.AssetKey([*pair, *LEDGER.path])}),
    )
    receiver.instance.report_run_failed(run)
    receiver.announced()
    assert isinstance(receiver.tick(), dg.RunRequest) is is_started


@pytest.mark.long
def test_load_in_vain_succeeds_and_changes_nothing_that_is_shown(receiver: Receiver) -> None:
    before = receiver.shown()
    figures = receiver.instance.get_latest_materialization_event(LEDGER)
    result = receiver.load(now() + timedelta(seconds=1))
    assert result.success
    assert not result.get_asset_materialization_events()
    assert not result.get_asset_check_evaluations()
    assert receiver.shown() == before
    after = receiver.instance.get_latest_materialization_event(LEDGER)
    assert figures is not None
    assert after is not None
    assert after.run_id == figures.run_id


@pytest.mark.long
def test_retry_of_an_early_load_does_what_the_first_run_was_to_do(receiver: Receiver) -> None:
    """It has the configuration of that run, whose time to wait is over."""
    tags = {"dagster/root_run_id": "first", "dagster/parent_run_id": "first"}
    result = receiver.load(now() - timedelta(minutes=5), tags)
    assert result.success
    made = {event.asset_key for event in result.get_asset_materialization_events()}
    assert made >= {ADMITTED, LEDGER}


@pytest.mark.long
@pytest.mark.parametrize("kinds", [[], ["partials"]], ids=["none", "unknown"])
def test_configuration_without_a_known_kind_fails_with_a_sentence(
    receiver: Receiver, kinds: list[str]
) -> None:
    result = receiver.load(now(), kinds=kinds)
    (failed,) = (event.step_failure_data for event in result.get_step_failure_events())
    failure = failed.user_failure_data
    assert failure is not None, failed.error
    assert "one or both of ['complete', 'partial']" in str(failure.description)


@pytest.mark.long
def test_wait_until_any_number_is_bounded(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission_asset, "LONGEST_WAIT_SECONDS", 0.2)
    for number in (1e300, math.inf, math.nan, -1e300):
        assert receiver.load(number).success, number


@pytest.mark.long
def test_archive_that_arrives_meanwhile_is_loaded(receiver: Receiver) -> None:
    deployment = receiver.deployment
    execute(deployment.sender_url, "UPDATE app_child SET amount = amount + 1 WHERE id < 9")
    deployment.succeed("partial_dump")
    (path,) = (deployment.spool / "partial").glob("NEW_*")
    hidden = deployment.spool / ".incoming" / path.name
    path.rename(hidden)
    arrival = threading.Timer(2, lambda: hidden.rename(path))
    arrival.start()
    result = receiver.load(now() + timedelta(seconds=60))
    arrival.join()
    assert result.success
    assert rows(deployment.receiver_url, CHILDREN) == rows(deployment.sender_url, CHILDREN)
    assert receiver.shown()["archives_loaded"].passed


@pytest.mark.long
def test_findings_stay_shown_while_a_load_waits_and_are_new_after_it(receiver: Receiver) -> None:
    deployment = receiver.deployment
    before = receiver.shown()
    execute(deployment.sender_url, "UPDATE app_child SET amount = amount + 1 WHERE id < 9")
    waiting = threading.Thread(target=receiver.load, args=[now() + timedelta(seconds=60)])
    waiting.start()
    load = dg.RunsFilter(job_name="partial_loaddata")
    until(lambda: receiver.instance.get_runs(load), "the load has begun")
    time.sleep(3)
    assert receiver.shown() == before
    deployment.succeed("partial_dump")
    waiting.join(timeout=100)
    after = receiver.shown()
    assert after.keys() == before.keys()
    assert "2 chunks were written" in str(after["digests_equal"].description)


@pytest.mark.long
def test_late_process_of_an_early_load_does_not_wait(receiver: Receiver) -> None:
    started = time.monotonic()
    assert receiver.load(now() - timedelta(minutes=5)).success
    assert time.monotonic() - started < 30


@pytest.mark.long
def test_announcement_is_no_archive_and_is_deleted_when_it_is_old(receiver: Receiver) -> None:
    receiver.announced()
    old = time.time() - 3 * 86400
    os.utime(receiver.file, (old, old))
    receiver.deployment.succeed("partial_dump")
    receiver.deployment.succeed("partial_loaddata")
    assert not receiver.file.exists()
