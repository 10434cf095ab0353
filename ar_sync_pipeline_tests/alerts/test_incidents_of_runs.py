"""What the sensor alone can see, from events as the run monitor and the daemon write them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import time_machine
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.instance import DagsterInstance
from dagster._core.test_utils import create_run_for_test
from dagster_shared.error import SerializableErrorInfo

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.alerts import alert_sensor, finished_runs, waiting_runs
from ar_sync_pipeline.operations.asset_keys import (
    applied_archives_key,
    archive_key,
    media_bundle_key,
)
from ar_sync_pipeline.operations.check_history import shown_evaluation
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline_tests.alerts.watched import ORIGIN, Watched
from ar_sync_pipeline_tests.fix_alerts import silent_server
from ar_sync_pipeline_tests.waiting import until

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
    assert "1 incident is open" in bare.tick("sender")
    (subject,) = bare.subjects
    assert "job partial_dump: the run never started (Run timed out" in subject
    bare.end_run(None)
    bare.tick_both()
    assert "Recovered: job partial_dump" in bare.subjects[1]


def test_run_that_is_killed_before_its_first_step_had_started(bare: Watched) -> None:
    bare.end_run("Detected run worker status FAILED.", events=[(dg.DagsterEventType.RUN_START, "")])
    bare.tick_both()
    (subject,) = bare.subjects
    assert "job partial_dump: the run was cut short (Detected run worker" in subject


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


@pytest.mark.parametrize(
    ("by_hand", "then"),
    [
        (False, dg.DagsterEventType.RUN_START),
        (True, dg.DagsterEventType.RUN_CANCELED),
        (True, None),
    ],
)
def test_wait_of_a_run_is_over_when_it_is_started_canceled_or_deleted(
    bare: Watched,
    monkeypatch: pytest.MonkeyPatch,
    then: dg.DagsterEventType | None,
    *,
    by_hand: bool,
) -> None:
    """Nobody makes another run by hand, whose success would end an incident of its job."""
    monkeypatch.setattr(waiting_runs, "TOO_LONG", timedelta(seconds=-1))
    with bare.instance() as instance:
        runs = [
            create_run_for_test(
                instance,
                job_name=IMPLICIT_ASSET_JOB_NAME if by_hand else "partial_dump",
                asset_selection=SENDERS if by_hand else None,
                status=dg.DagsterRunStatus.QUEUED,
                remote_job_origin=ORIGIN,
            )
            for _ in range(2)
        ]
        bare.tick_both()
        assert len(bare.subjects) == 1
        for run in runs:
            bare.tick_both()
            assert len(bare.subjects) == 1, "a run still waits"
            if then is None:
                instance.delete_run(run.run_id)
            else:
                event = dg.DagsterEvent(then.value, job_name=run.job_name)
                instance.report_dagster_event(event, run.run_id)
    bare.tick_both()
    bare.tick_both()
    assert [subject.split()[2] for subject in bare.subjects] == ["Failing:", "Recovered:"]


def test_run_by_hand_that_never_started_says_how_to_close_its_incident(bare: Watched) -> None:
    """No success ends it if the user does not start it again."""
    bare.end_run("This run has been marked as failed from outside.", by_hand=SENDERS)
    bare.tick_both()
    assert "ar-sync incidents --close NUMBER" in bare.text(0)
    assert "the next run" not in bare.text(0)


@pytest.mark.parametrize(
    ("tags", "hours"),
    [
        ({"dagster/max_runtime": "8h"}, 7),
        ({"dagster/max_runtime": "nan"}, 7),
        ({"dagster/max_runtime": "999999999999"}, 24 * 365),
        ({"dagster/max_runtime": "inf"}, 7),
        ({"dagster/max_runtime": "36000"}, 11),
        ({"dagster/max_runtime_seconds": "36000"}, 11),
        ({"dagster/max_runtime": ""}, 7),
    ],
)
def test_whatever_limit_a_run_has_runs_that_wait_for_it_are_reported(
    bare: Watched, tags: dict[str, str], hours: int
) -> None:
    """A user may write any text into the tag; Dagster only warns."""
    definitions = bare.definitions("sender")
    begun = datetime.now(UTC)
    with bare.instance() as instance:
        run = instance.create_run_for_job(
            definitions.resolve_job_def("complete_dump"), status=dg.DagsterRunStatus.STARTED
        )
        instance.add_run_tags(run.run_id, tags)
        instance.create_run_for_job(definitions.resolve_job_def("partial_dump"))
    for later, mails in ((hours - 0.5, 0), (hours + 2, 1)):
        with time_machine.travel(begun + timedelta(hours=later)):
            bare.tick("sender")
        told = [subject for subject in bare.subjects if "has waited" in subject]
        assert len(told) == mails


SENDERS = frozenset({archive_key(kind, ALONE) for kind in ArchiveKind})
RECEIVERS = frozenset({applied_archives_key(ALONE)})
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


@pytest.mark.parametrize("end", ["canceled in the queue", "killed"])
def test_run_that_ends_by_itself_hides_no_finding_of_its_checks(bare: Watched, end: str) -> None:
    """Dagster plans the checks when the run is created; the next complete is a day away."""
    bundle = media_bundle_key(ArchiveKind.COMPLETE, ALONE)
    finding = dg.AssetCheckEvaluation(
        asset_key=bundle, check_name="references_resolved", passed=False, description="1 is missing"
    )
    job = bare.definitions("sender").resolve_job_def("complete_dump")
    with bare.instance() as instance:
        instance.report_runless_asset_event(finding)
        run = instance.create_run_for_job(job)
        assert shown_evaluation(instance, finding.asset_check_key) is None
        if end == "killed":
            instance.report_run_failed(run)
        else:
            instance.report_run_canceled(run)
        bare.tick_both()
        shown = shown_evaluation(instance, finding.asset_check_key)
    assert shown is not None
    assert shown.description == "1 is missing"


def test_run_that_ends_after_the_runs_were_wiped_is_seen(bare: Watched) -> None:
    """`dagster run wipe` leaves the cursors of sensors, and SQLite counts events from 1 again."""
    for number in range(3):
        bare.end_run(f"number {number}")
        bare.tick("sender")
    with bare.instance() as instance:
        instance.wipe()
    bare.tick("sender")
    bare.end_run(None)
    bare.tick("sender")
    assert [subject.split()[2] for subject in bare.subjects] == ["Failing:", "Recovered:"]


def test_run_that_ends_after_the_newest_one_was_deleted_is_seen(bare: Watched) -> None:
    """SQLite gives the ids of its events again: the end of the next run looks processed."""
    for number in range(3):
        run_id = bare.end_run(f"number {number}")
        bare.tick("sender")
    with bare.instance() as instance:
        instance.delete_run(run_id)
    bare.end_run(None)
    bare.tick("sender")
    assert [subject.split()[2] for subject in bare.subjects] == ["Failing:", "Recovered:"]


@pytest.mark.long
def test_runs_that_end_between_a_wipe_and_the_next_tick_are_all_seen(
    bare: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sensor was stopped meanwhile, for longer than a first tick looks back."""
    for number in range(3):
        bare.end_run(f"number {number}")
        bare.tick("sender")
    with bare.instance() as instance:
        instance.wipe()
    bare.end_run(None)
    monkeypatch.setattr(alert_sensor, "_FIRST_PERIOD", timedelta(0))
    for number in range(5):
        bare.end_run(f"later number {number}")
    bare.tick("sender")
    words = [subject.split()[2] for subject in bare.subjects]
    assert words[:2] == ["Failing:", "Recovered:"]


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


def test_retry_that_is_promised_and_never_comes_is_reported_after_some_minutes(
    bare: Watched,
) -> None:
    """Its job was renamed, or its backfill is over: the daemon leaves the tag as it is."""
    bare.end_run("killed", tags={"dagster/will_retry": "true"})
    ended = datetime.now(UTC)
    for minutes, mails in ((0, 0), (9, 0), (11, 1), (12, 1)):
        with time_machine.travel(ended + timedelta(minutes=minutes)):
            bare.tick_both()
        assert len(bare.subjects) == mails
    bare.end_run(None)
    bare.tick_both()
    assert "Recovered: job partial_dump" in bare.subjects[1]


def test_retry_is_not_waited_for_until_the_time_of_a_clock_that_was_ahead(bare: Watched) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=5)):
        bare.end_run("killed", tags={"dagster/will_retry": "true"})
        bare.tick_both()
        assert bare.subjects == []
    bare.tick_both()
    assert len(bare.subjects) == 1


@pytest.mark.parametrize("tags", [{"dagster/will_retry": "true"}, {}])
def test_run_that_a_command_line_started_is_reported_at_once_since_nothing_retries_it(
    bare: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str]
) -> None:
    (tmp_path / "dagster.yaml").write_text("run_retries: {enabled: true, max_retries: 1}\n")
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        monkeypatch.setattr(bare, "kept_open", instance)
        bare.end_run("killed", tags=tags, launched=False)
        bare.tick_both()
    assert len(bare.subjects) == 1


OVERRUN = "Canceling due to exceeding maximum runtime of 3600 seconds."


def step_at_work(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Return the run in this process when its step is at work."""
    begun = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    (run, *_) = until(lambda: instance.get_runs(begun), "the run has started", every=0.01)
    until(lambda: instance.all_logs(run.run_id, of_type=STARTED), "its step has", every=0.01)
    return run


def stop(instance: dg.DagsterInstance, *, asked: bool = False, why: str | None = None) -> None:
    """Stop the run in this process by a signal, when its step is at work.

    Args:
        instance: Dagster instance.
        asked: Whether Dagster was asked to cancel it.
        why: Message of the run monitor; None: a user asked.
    """
    run = step_at_work(instance)
    if asked:
        instance.report_run_canceling(run, why)
    os.kill(os.getpid(), signal.SIGINT)


def canceled_run(bare: Watched, instance: dg.DagsterInstance, why: str | None) -> dg.DagsterRun:
    """Run a dump whose database does not answer, until it is canceled."""
    with ThreadPoolExecutor() as pool:
        canceling = pool.submit(stop, instance, asked=True, why=why)
        run_id = bare.run("partial_dump").run_id
        canceling.result(10)
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    return run


@pytest.fixture
def waiting(bare: Watched, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Both sides; the sender waits for its database."""
    with silent_server() as port:
        url = f"postgresql://nobody@127.0.0.1:{port}/silent"
        monkeypatch.setitem(bare.deployment.sender_changes, "AR_SYNC_SENDER_DATABASE_URL", url)
        yield bare


def test_run_that_a_person_cancels_is_no_incident(waiting: Watched) -> None:
    with waiting.instance() as instance:
        canceled_run(waiting, instance, None)
        waiting.tick_both()
    assert waiting.subjects == []


def test_run_that_took_too_long_is_told_as_that(waiting: Watched) -> None:
    with waiting.instance() as instance:
        run = canceled_run(waiting, instance, OVERRUN)
        instance.report_run_failed(run, "Exceeded maximum runtime of 3600 seconds.")
        for _ in range(2):
            waiting.tick_both()
    (subject,) = waiting.subjects
    assert "job partial_dump, step partial_" in subject
    assert "the run was cut short (Canceling due to exceeding maximum runtime" in subject
    assert "run_stuck_or_killed" in waiting.text(0)
    assert "please report it" not in waiting.text(0)
    assert "work that makes progress is not ended" in waiting.text(0)
    assert "in a dump or load, work that" in waiting.text(0), "other runs have a fixed limit"
    assert "that of a dump continues its upload" in waiting.text(0)


@pytest.mark.long
def test_run_that_is_canceled_before_its_first_step(bare: Watched) -> None:
    job = bare.definitions("sender").resolve_job_def("partial_dump")
    with bare.instance() as instance:
        for reason in (None, OVERRUN):
            run = instance.create_run_for_job(job)
            instance.report_run_canceling(run, reason)
            instance.report_run_canceled(run)
            bare.tick_both()
            assert len(bare.subjects) == (1 if reason else 0)


def test_step_that_a_signal_interrupts_is_cut_short(waiting: Watched) -> None:
    """Nobody asked for the end: the service or the host was stopped."""
    with waiting.instance() as instance, ThreadPoolExecutor() as pool:
        stopping = pool.submit(stop, instance)
        with pytest.raises(KeyboardInterrupt):
            waiting.run("partial_dump")
        stopping.result(10)
        waiting.tick_both()
    (subject,) = waiting.subjects
    assert "job partial_dump, step partial_archive: the run was cut short" in subject
    assert "Execution was interrupted unexpectedly" in waiting.text(0)
