"""The maximum runtime of a run ends runs that hang, and none that makes progress."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline.operations.runs import longer_runs
from ar_sync_pipeline.operations.runs.longer_runs import LongerRun, allow_for, put_limit_back
from ar_sync_pipeline.progress import report_progress
from ar_sync_pipeline.sync.dump import publish
from ar_sync_pipeline.sync.dump.assemble import assemble
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.waiting import until

LIMIT = "dagster/max_runtime"
HOUR = 3600


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    configuration = "run_monitoring: {enabled: true, max_runtime_seconds: 21600}\n"
    (tmp_path / "dagster.yaml").write_text(configuration)
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def started(instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    run = create_run_for_test(instance, job_name="complete_dump", tags=tags)
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
    instance.report_dagster_event(event, run.run_id)
    return str(run.run_id)


def limit(instance: dg.DagsterInstance, run_id: str) -> float | None:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.STARTED
    return float(run.tags[LIMIT]) if LIMIT in run.tags else None


@pytest.mark.parametrize("tags", [{LIMIT: str(6 * HOUR)}, {}], ids=["of its job", "by hand"])
@pytest.mark.long
def test_run_that_reports_progress_always_has_an_hour_left(
    instance: dg.DagsterInstance, tags: dict[str, str]
) -> None:
    run_id, begin = started(instance, tags), time.time()
    now = begin
    longer = LongerRun(instance, run_id, clock=lambda: now)
    for hour in range(1, 40):
        now = begin + hour * HOUR
        longer.progress()
        longer.wait()
        left = (limit(instance, run_id) or 6 * HOUR) - hour * HOUR
        assert left > HOUR - 60
        assert left < 6 * HOUR


def test_limit_in_the_other_tag_is_extended_too(instance: dg.DagsterInstance) -> None:
    """Run monitoring reads `dagster/max_runtime_seconds` as well."""
    run_id = started(instance, {f"{LIMIT}_seconds": str(HOUR)})
    allow_for(instance, run_id, 5 * HOUR)
    assert (limit(instance, run_id) or 0) > 5 * HOUR


@pytest.mark.parametrize("text", ["8h", "nan", "inf"])
def test_limit_that_is_none_is_not_extended(instance: dg.DagsterInstance, text: str) -> None:
    run_id = started(instance, {LIMIT: text})
    allow_for(instance, run_id, 50 * HOUR)
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.tags[LIMIT] == text


def test_limit_that_is_far_away_stays(instance: dg.DagsterInstance) -> None:
    run_id, begin = started(instance, {LIMIT: str(6 * HOUR)}), time.time()
    now = begin
    longer = LongerRun(instance, run_id, clock=lambda: now)
    now = begin + 4 * HOUR
    longer.progress()
    longer.wait()
    assert limit(instance, run_id) == 6 * HOUR


@pytest.mark.long
def test_storage_that_hangs_holds_up_no_work(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host is failing over: no packet is answered. The work would count as hung, too."""
    run_id, begin = started(instance, {LIMIT: str(6 * HOUR)}), time.time()
    answered, asked, found = threading.Event(), list[str](), instance.get_run_record_by_id

    def hang(run_id: str) -> object:
        asked.append(run_id)
        answered.wait(20)
        return found(run_id)

    monkeypatch.setattr(instance, "get_run_record_by_id", hang)
    now, touched = begin, list[float]()
    longer = LongerRun(instance, run_id, clock=lambda: now, on_progress=lambda: touched.append(now))
    for hour in (6, 7, 8):
        now = begin + hour * HOUR
        longer.progress()
        until(lambda: not threads_named("on-progress"), "the folder is touched")
    assert not answered.is_set()
    assert (len(asked), len(touched)) == (1, 3), "one question at a time"
    assert limit(instance, run_id) == 6 * HOUR
    answered.set()
    longer.wait()
    now = begin + 9 * HOUR
    longer.progress()
    longer.wait()
    assert (limit(instance, run_id) or 0) > 10 * HOUR - 60


def threads_named(name: str) -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == f"longer-run-{name}"]


def test_disk_that_hangs_holds_up_neither_the_work_nor_the_watch_of_its_locks(
    instance: dg.DagsterInstance,
) -> None:
    """The watch reports in its own thread; while it hangs, production waits without a limit."""
    run_id, now, answered = (
        started(instance, {LIMIT: str(6 * HOUR)}),
        time.time(),
        threading.Event(),
    )
    longer = LongerRun(instance, run_id, clock=lambda: now, on_progress=lambda: answered.wait(20))
    began, now = time.monotonic(), now + 6 * HOUR
    longer.progress()
    longer.wait()
    assert time.monotonic() - began < 10
    assert (limit(instance, run_id) or 0) > 7 * HOUR
    answered.set()


def test_progress_raises_nothing(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error would end a dump that is well, or the watch of its locks."""
    run_id, now = started(instance, {LIMIT: str(6 * HOUR)}), time.time()
    longer = LongerRun(instance, run_id, clock=lambda: now, on_progress=lambda: 1 / 0)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    now += 6 * HOUR
    with monkeypatch.context() as patched, longer:
        patched.setattr(threading.Thread, "start", refuse)
        longer.progress()
    assert limit(instance, run_id) == 6 * HOUR
    now += HOUR
    longer.progress()
    longer.wait()
    assert (limit(instance, run_id) or 0) > 8 * HOUR


@pytest.mark.long
def test_run_that_is_terminated_while_the_storage_hangs_ends_soon(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After half a minute it would end by force, and record nothing."""
    run_id, now = started(instance, {LIMIT: str(6 * HOUR)}), time.time()
    terminated, answered = threading.Event(), list[bool]()
    monkeypatch.setattr(
        instance, "get_run_record_by_id", lambda _: answered.append(terminated.wait(20))
    )
    longer = LongerRun(instance, run_id, clock=lambda: now)
    with pytest.raises(KeyboardInterrupt), longer:
        now += HOUR
        longer.progress()
        raise KeyboardInterrupt
    assert answered == [], "it still hangs"
    terminated.set()
    longer.wait()
    assert answered == [True]


def test_run_without_a_limit_gets_none(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        run_id, now = started(instance, {}), time.time()
        longer = LongerRun(instance, run_id, clock=lambda: now)
        now += 9 * HOUR
        longer.progress()
        longer.wait()
        assert limit(instance, run_id) is None


def test_work_with_a_limit_of_its_own_is_not_ended_before_it(instance: dg.DagsterInstance) -> None:
    run_id, begin = started(instance, {LIMIT: str(6 * HOUR)}), time.time()
    allow_for(instance, run_id, 24 * HOUR, now=begin + 5 * HOUR)
    assert limit(instance, run_id) == pytest.approx(30 * HOUR, abs=60)
    allow_for(instance, run_id, 2 * HOUR, now=begin + 6 * HOUR)
    assert limit(instance, run_id) == pytest.approx(30 * HOUR, abs=60)


@pytest.mark.parametrize("tags", [{LIMIT: str(6 * HOUR)}, {}], ids=["of its job", "by hand"])
def test_retry_begins_with_the_limit_that_the_first_run_began_with(
    instance: dg.DagsterInstance, tags: dict[str, str]
) -> None:
    """Dagster copies the tags of a run to its retry, which may hang."""
    run_id, begin = started(instance, tags), time.time()
    for hours in (70, 140):
        allow_for(instance, run_id, 2 * HOUR, now=begin + hours * HOUR)
    for _ in range(2):
        first = instance.get_run_by_id(run_id)
        assert first is not None
        put_limit_back(instance, first)
        assert (limit(instance, run_id) or 0) > 100 * HOUR, "its own extension stays"
        run_id = started(instance, dict(first.tags))
        retry = instance.get_run_by_id(run_id)
        assert retry is not None
        put_limit_back(instance, retry)
        assert limit(instance, run_id) == 6 * HOUR
        allow_for(instance, run_id, 200 * HOUR)


def test_limit_that_a_user_gives_a_run_that_is_launched_again_stays(
    instance: dg.DagsterInstance,
) -> None:
    """The UI copies all tags of the run that was ended, and the user changes one of them."""
    run_id, begin = started(instance, {LIMIT: str(6 * HOUR)}), time.time()
    allow_for(instance, run_id, 2 * HOUR, now=begin + 7 * HOUR)
    ended = instance.get_run_by_id(run_id)
    assert ended is not None
    run_id = started(instance, {**ended.tags, LIMIT: str(72 * HOUR)})
    again = instance.get_run_by_id(run_id)
    assert again is not None
    put_limit_back(instance, again)
    assert limit(instance, run_id) == 72 * HOUR


def test_limit_that_could_not_be_put_back_is_that_of_the_next_retry(
    instance: dg.DagsterInstance,
) -> None:
    run_id, begin = started(instance, {LIMIT: str(6 * HOUR)}), time.time()
    allow_for(instance, run_id, 2 * HOUR, now=begin + 7 * HOUR)
    first = instance.get_run_by_id(run_id)
    assert first is not None
    run_id = started(instance, dict(first.tags))
    allow_for(instance, run_id, 2 * HOUR, now=begin + 20 * HOUR)
    second = instance.get_run_by_id(run_id)
    assert second is not None
    put_limit_back(instance, second)
    assert (limit(instance, run_id) or 0) > 20 * HOUR, "its own extension stays"
    run_id = started(instance, dict(second.tags))
    third = instance.get_run_by_id(run_id)
    assert third is not None
    put_limit_back(instance, third)
    assert limit(instance, run_id) == 6 * HOUR


@pytest.mark.long
def test_upload_of_a_dump_reports_progress(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(longer_runs, "_REPORT_EVERY_SECONDS", 0)
    outcome = deployment.succeed("partial_dump")
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        run = instance.get_run_by_id(outcome.run_id)
    assert run is not None
    assert float(run.tags[LIMIT]) > 2 * HOUR - 60


@pytest.mark.long
def test_every_long_phase_of_a_complete_reports_progress(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first complete of a terabyte is read three times by its load, which may take a day."""
    monkeypatch.setattr(longer_runs, "_REPORT_EVERY_SECONDS", 0)
    monkeypatch.setattr(longer_runs, "_SPARE_SECONDS", 6 * HOUR)
    phases, progress = set[str](), LongerRun.progress

    def hash_changed_file(*args: Any) -> Any:
        """Report as the upload does that finds a changed media file and reads that again."""
        report_progress()
        return assemble(*args)

    monkeypatch.setattr(publish, "assemble", hash_changed_file)

    def report(self: LongerRun) -> None:
        phases.update(frame.f_code.co_name for frame, _ in traceback.walk_stack(None))
        progress(self)

    monkeypatch.setattr(LongerRun, "progress", report)
    for job in ("complete_dump", "complete_loaddata"):
        outcome = deployment.succeed(job)
        with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
            run = instance.get_run_by_id(outcome.run_id)
        assert run is not None
        assert float(run.tags[LIMIT]) > 12 * HOUR - 60
    assert phases >= {
        *("write_chunk", "scan_media", "hash_media", "bundle_media"),
        "hash_changed_file",
        *("admit_archives", "load_archives", "stage_chunk", "_stage_media", "rename_into_place"),
    }


@pytest.mark.long
def test_run_of_a_load_has_the_whole_time_of_its_transform(deployment: Deployment) -> None:
    deployment.receiver_changes |= {
        "AR_SYNC_TRANSFORM": "command:/bin/true",
        "AR_SYNC_TRANSFORM_TIMEOUT": "1440",
    }
    outcome = deployment.succeed("partial_loaddata")
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        run = instance.get_run_by_id(outcome.run_id)
    assert run is not None
    assert float(run.tags[LIMIT]) > 25 * HOUR - 60
