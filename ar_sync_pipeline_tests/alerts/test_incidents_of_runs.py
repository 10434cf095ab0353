"""What the sensor alone can see, from events as the run monitor and the daemon write them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.instance import DagsterInstance
from dagster._core.test_utils import create_run_for_test
from dagster_shared.error import SerializableErrorInfo

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.alerts import finished_runs, waiting_runs
from ar_sync_pipeline.operations.asset_keys import applied_archives_key, archive_key
from ar_sync_pipeline_tests.alerts.watched import Watched

STARTED, WORKED = dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS
STEP = "partial_archive"


def test_killed_worker_until_its_step_works(bare: Watched) -> None:
    bare.end_run("Detected run worker status FAILED.", events=[(STARTED, STEP)])
    bare.tick_both()
    (subject,) = bare.subjects
    assert "job partial_dump, step partial_archive: the run was cut short" in subject
    bare.end_run(None, events=[(STARTED, STEP), (WORKED, STEP)])
    bare.tick_both()
    assert "Recovered: job partial_dump, step partial_archive" in bare.subjects[1]
    assert len(bare.subjects) == 2


def test_run_that_never_started_until_one_ends_well(bare: Watched) -> None:
    for _ in range(2):
        bare.end_run("Run timed out due to taking longer than 180 seconds to start.")
    assert "1 incidents are open" in bare.tick("sender")
    (subject,) = bare.subjects
    assert "job partial_dump: the run never started (Run timed out" in subject
    bare.end_run(None)
    bare.tick_both()
    assert "Recovered: job partial_dump" in bare.subjects[1]


def test_run_whose_process_could_not_load_tells_why(bare: Watched) -> None:
    wrong = SerializableErrorInfo(
        "1 error in the settings of the sender\n  AR_SYNC_TMP_BKP_FLDR=/x: does not exist\n",
        [],
        "SettingsError",
    )
    bare.end_run("This run has been marked as failed from outside.", engine_error=wrong)
    bare.tick_both()
    (subject,) = bare.subjects
    assert "job partial_dump: the run never started (1 error in the settings" in subject
    assert "AR_SYNC_TMP_BKP_FLDR=/x: does not exist)" in bare.text(0)


def test_run_that_waits_for_hours_in_the_queue(
    bare: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bare.definitions("sender").resolve_job_def("partial_dump")
    with bare.instance() as instance:
        instance.create_run_for_job(job)
    bare.tick_both()
    assert bare.subjects == []
    monkeypatch.setattr(waiting_runs, "TOO_LONG", timedelta(seconds=-1))
    for _ in range(2):
        bare.tick_both()
    (subject,) = bare.subjects
    assert "job partial_dump: the run has waited" in subject


SENDERS = frozenset({archive_key(kind) for kind in ArchiveKind})
RECEIVERS = frozenset({applied_archives_key()})
LOAD = "load"


def sides(watched: Watched) -> list[str]:
    """Return the side of each mail."""
    watched.tick_both()
    return [subject.split()[1].rstrip("]") for subject in watched.subjects]


@pytest.mark.parametrize(("selected", "side"), [(SENDERS, "sender"), (RECEIVERS, "receiver")])
def test_run_by_hand_that_never_started_is_its_own_sides(
    bare: Watched, selected: frozenset[dg.AssetKey], side: str
) -> None:
    bare.end_run("never started", by_hand=selected)
    assert sides(bare) == [side]


@pytest.mark.parametrize(("selected", "side"), [(SENDERS, "sender"), (RECEIVERS, "receiver")])
def test_run_by_hand_that_waits_in_the_queue_is_its_own_sides(
    bare: Watched,
    monkeypatch: pytest.MonkeyPatch,
    selected: frozenset[dg.AssetKey],
    side: str,
) -> None:
    monkeypatch.setattr(waiting_runs, "TOO_LONG", timedelta(seconds=-1))
    with bare.instance() as instance:
        create_run_for_test(
            instance,
            job_name=IMPLICIT_ASSET_JOB_NAME,
            asset_selection=selected,
            status=dg.DagsterRunStatus.NOT_STARTED,
        )
    assert sides(bare) == [side]


@pytest.mark.parametrize(
    ("selected", "step", "side"),
    [
        (SENDERS, STEP, "sender"),
        (RECEIVERS, LOAD, "receiver"),
        (SENDERS | RECEIVERS, STEP, "sender"),
        (SENDERS | RECEIVERS, LOAD, "receiver"),
    ],
)
def test_step_that_was_killed_in_a_run_by_hand_is_its_own_sides(
    bare: Watched, selected: frozenset[dg.AssetKey], step: str, side: str
) -> None:
    bare.end_run("worker died", events=[(STARTED, step)], by_hand=selected)
    assert sides(bare) == [side]
    bare.end_run(None, events=[(STARTED, step), (WORKED, step)], by_hand=selected)
    assert sides(bare) == [side, side]


def test_lost_cursor_repeats_nothing(bare: Watched) -> None:
    bare.end_run("never came")
    for _ in range(3):
        bare.cursors.clear()
        bare.tick_both()
    assert len(bare.subjects) == 1


@pytest.mark.long
def test_more_runs_than_one_look_takes(bare: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished_runs, "_EVENTS", 2)
    for number in range(5):
        bare.end_run(f"number {number}")
        if number == 0:
            bare.tick("sender")
    for _ in range(3):
        bare.tick("sender")
    bare.end_run(None)
    bare.tick("sender")
    assert len(bare.subjects) == 2
    assert "4 more times" in bare.text(1)


def test_retried_run_is_reported_only_if_the_last_attempt_fails(
    bare: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_text("run_retries: {enabled: true, max_retries: 1}\n")
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        monkeypatch.setattr(bare, "kept_open", instance)
        first = bare.end_run("killed")
        bare.tick_both()
        assert bare.subjects == []
        retry = bare.end_run("killed again", retry_of=first)
        instance.add_run_tags(first, {"dagster/auto_retry_run_id": retry})
        for _ in range(2):
            bare.tick_both()
    assert len(bare.subjects) == 1
    assert "killed again" in bare.text(0)


def test_retry_that_never_comes_is_reported(bare: Watched) -> None:
    run = bare.end_run("killed", tags={"dagster/will_retry": "true"})
    bare.tick_both()
    assert bare.subjects == []
    with bare.instance() as instance:  # as the daemon does where it cannot launch it
        instance.add_run_tags(run, {"dagster/will_retry": "false"})
    for _ in range(2):
        bare.tick_both()
    assert len(bare.subjects) == 1


def test_canceled_by_a_person_is_no_incident_and_by_the_monitor_is_one(bare: Watched) -> None:
    job = bare.definitions("sender").resolve_job_def("partial_dump")
    with bare.instance() as instance:
        for reason in (None, "Canceling due to exceeding maximum runtime of 3600 seconds."):
            run = instance.create_run_for_job(job)
            instance.report_run_canceling(run, reason)
            instance.report_run_canceled(run)
            bare.tick_both()
            assert len(bare.subjects) == (1 if reason else 0)
