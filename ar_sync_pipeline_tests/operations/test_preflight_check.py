"""The preflight as an asset check: evaluated once in each process, and kept visible."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from threading import Event

import dagster as dg
import psycopg
import pytest

from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.operations import preflight_check
from ar_sync_pipeline.operations.alerts.problem_areas import ENDPOINT, SPOOL
from ar_sync_pipeline.operations.asset_keys import applied_archives_key, endpoint_key
from ar_sync_pipeline.operations.check_evaluation import (
    ERROR,
    NOT_EXAMINED_SINCE,
    evaluation_of,
    examined_at,
    unchanged_since,
)
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.preflight_check import CHECK, preflight_sensor
from ar_sync_pipeline.operations.runs.local_runs import LocalRuns
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.installed_media import record_installed
from ar_sync_pipeline.postgres.ledger_tables import ensure_ledger
from ar_sync_pipeline.spool.receiver_mark import ReceiverMark, SignOfLife
from ar_sync_pipeline.sync.load import lost_media
from ar_sync_pipeline.sync.watch import database_access, preflight
from ar_sync_pipeline.sync.watch.preflight_result import Preflight
from ar_sync_pipeline_tests.fix_dagster import Deployment, is_shown

SENDER = dg.AssetCheckKey(endpoint_key(ALONE), CHECK)
RECEIVER = dg.AssetCheckKey(applied_archives_key(ALONE), CHECK)


@pytest.fixture
def instance(deployment: Deployment) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(deployment.home)) as opened:
        yield opened


class Process:
    """The sensor of a code location that has just started."""

    def __init__(
        self, definitions: dg.Definitions, name: str, instance: dg.DagsterInstance
    ) -> None:
        self.sensor = definitions.resolve_sensor_def(name)
        self.instance = instance
        self.cursor: str | None = None

    def tick(self) -> dg.AssetCheckEvaluation | str:
        """Return what a tick writes, and record it as the daemon does; or why it writes nothing."""
        answer = self.sensor(dg.build_sensor_context(self.instance, cursor=self.cursor))
        if isinstance(answer, dg.SkipReason):
            return str(answer.skip_message)
        assert isinstance(answer, dg.SensorResult)
        assert not answer.run_requests
        for event in answer.asset_events:
            self.instance.report_runless_asset_event(event)
        self.cursor = answer.cursor
        *_, last = answer.asset_events
        assert isinstance(last, dg.AssetCheckEvaluation)
        return last


def execute_check(
    deployment: Deployment, instance: dg.DagsterInstance, key: dg.AssetCheckKey
) -> dg.AssetCheckEvaluation:
    """Execute the check as from the UI, and return what it wrote."""
    side = "sender" if key == SENDER else "receiver"
    job = dg.define_asset_job("only_the_check", selection=dg.AssetSelection.checks(key))
    of_side = getattr(deployment, f"{side}_definitions")()
    definitions = dg.Definitions.merge(of_side, dg.Definitions(jobs=[job]))
    with LocalRuns(deployment.home) as runs:
        assert runs.run(definitions, "only_the_check").succeeded
    record = instance.get_latest_asset_check_evaluation_record(key)
    assert record is not None
    assert isinstance(record.evaluation, dg.AssetCheckEvaluation)
    return record.evaluation


def test_the_account_is_shown_as_checked_a_minute_after_the_installation(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    key = dg.AssetCheckKey(endpoint_key(ALONE), "archives_can_be_published")
    process = Process(deployment.sender_definitions(), "sender_preflight", instance)
    process.tick()
    assert len(instance.fetch_materializations(endpoint_key(ALONE), limit=5).records) == 1
    assert is_shown(instance, key)
    assert is_shown(instance, SENDER)
    again = Process(deployment.sender_definitions(), "sender_preflight", instance)
    again.tick()
    assert len(instance.fetch_materializations(endpoint_key(ALONE), limit=5).records) == 1


def test_an_account_that_cannot_be_reached_yet_is_the_finding_of_the_preflight_alone(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    deployment.sender_changes["AR_SYNC_REMOTE_BKP_FLDR"] = "/spoool"
    found = Process(deployment.sender_definitions(), "sender_preflight", instance).tick()
    assert isinstance(found, dg.AssetCheckEvaluation)
    assert not found.passed
    key = dg.AssetCheckKey(endpoint_key(ALONE), "archives_can_be_published")
    assert instance.get_latest_asset_check_evaluation_record(key) is None
    assert instance.get_latest_materialization_event(endpoint_key(ALONE)) is None


def test_each_start_evaluates_the_check_once(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    process = Process(deployment.receiver_definitions(), "receiver_preflight", instance)
    first = process.tick()
    assert isinstance(first, dg.AssetCheckEvaluation)
    assert first.passed
    at = examined_at(first)
    assert at is not None
    assert first.description == (
        f"Examined at {at:%Y-%m-%d %H:%M} UTC: archives can be loaded, with 1 warning."
    )
    assert "mail" in str(first.metadata["findings"].value)
    assert process.tick() == first.description
    again = Process(deployment.receiver_definitions(), "receiver_preflight", instance)
    again.cursor = process.cursor
    assert isinstance(again.tick(), dg.AssetCheckEvaluation)


def test_finding_says_what_is_wrong_and_what_to_do(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    deployment.sender_changes["AR_SYNC_SENDER_DATABASE_URL"] = (
        "postgresql://someone:secret-word@127.0.0.1:1/nowhere"
    )
    deployment.sender_changes["AR_SYNC_REMOTE_BKP_FLDR"] = "/spoool"
    process = Process(deployment.sender_definitions(), "sender_preflight", instance)
    found = process.tick()
    assert isinstance(found, dg.AssetCheckEvaluation)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert str(found.description).startswith("spool exists: ")
    assert "AR_SYNC_REMOTE_BKP_FLDR" in str(found.description)
    assert "127.0.0.1:1/nowhere cannot be reached" in str(found.metadata["findings"].value)
    assert "secret-word" not in str(found)
    assert isinstance(process.tick(), str)


def test_what_a_quick_look_finds_is_examined_at_the_next_tick(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    process = Process(deployment.receiver_definitions(), "receiver_preflight", instance)
    process.tick()
    assert isinstance(process.tick(), str)
    media = deployment.folder / "receiver_media"
    gone = [f"{number}.jpeg" for number in range(5)]
    with psycopg.connect(deployment.receiver_url, autocommit=True) as connection:
        ensure_ledger(connection)
        record_installed(connection, "/", gone)
    found = process.tick()
    assert isinstance(found, dg.AssetCheckEvaluation)
    assert not found.passed
    assert f"the media folder {media} has none of the files" in str(found.description)
    assert found.metadata[ERROR].value == "media-lost"
    assert isinstance(process.tick(), str)
    (media / gone[3]).touch()
    again = process.tick()
    assert isinstance(again, dg.AssetCheckEvaluation)
    assert again.passed


def test_media_disk_that_hangs_is_named_and_hides_no_other_finding(
    deployment: Deployment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(deployment.receiver_url, autocommit=True) as connection:
        ensure_ledger(connection)
        record_installed(connection, "/", ["gone.jpeg"])
    mounted = Event()
    monkeypatch.setattr(lost_media, "are_all_missing", lambda *_: mounted.wait(60))
    monkeypatch.setattr(preflight, "_HINT_SECONDS", 0.1)
    monkeypatch.setattr(preflight_check, "_TICK_SECONDS", 2.0)
    process = Process(deployment.receiver_definitions(), "receiver_preflight", instance)
    found = process.tick()
    again = process.tick()
    mounted.set()
    assert isinstance(found, dg.AssetCheckEvaluation)
    assert "media files did not end within 2 s" in str(found.description)
    assert isinstance(again, str)  # what is not known is no change


def test_failed_finding_is_written_at_each_examination_and_is_one_finding(
    deployment: Deployment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not mailed while its cause had an incident of its own."""
    monkeypatch.setattr(preflight_check, "AGAIN_AFTER_SECONDS", {True: 3600.0, False: 0.0})
    deployment.receiver_changes["AR_SYNC_TRANSFORM"] = "command:/nowhere/program"
    process = Process(deployment.receiver_definitions(), "receiver_preflight", instance)
    found = [process.tick() for _ in range(3)]
    assert all(isinstance(one, dg.AssetCheckEvaluation) for one in found)
    assert len({unchanged_since(one) for one in found if not isinstance(one, str)}) == 1
    assert len({examined_at(one) for one in found if not isinstance(one, str)}) == 3
    history = instance.event_log_storage.get_asset_check_execution_history(RECEIVER, limit=9)
    assert len(history) <= 2, "they replace each other"


def test_passing_finding_says_when_it_was_examined_and_is_written_with_each_new_time(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said that archives can be published for an hour in which nothing answered."""
    monkeypatch.setattr(preflight_check, "AGAIN_AFTER_SECONDS", {True: 0.0, False: 0.0})
    found = Preflight("sender", (), (), None, 1)
    now = datetime(2026, 12, 1, 17, 28, tzinfo=UTC)
    process = preflight_check._Process(  # noqa: SLF001  the examinations of one process
        SENDER.asset_key, lambda _: found, lambda: now, "sender", lambda *_: (), began=now
    )
    said, cursor = [], None
    for minutes in (0, 0, 60, 60):
        now += timedelta(minutes=minutes)
        with dg.build_sensor_context(instance, cursor=cursor) as context:
            answer = process.tick(context)
        if isinstance(answer, dg.SensorResult):
            (event,) = answer.asset_events
            assert isinstance(event, dg.AssetCheckEvaluation)
            instance.report_runless_asset_event(event)
            cursor = answer.cursor
            said.append(event.description)
            assert "unchanged_since" not in event.metadata
            assert unchanged_since(event) == datetime(2026, 12, 1, 17, 28, tzinfo=UTC)
    assert said == [
        "Examined at 2026-12-01 17:28 UTC: archives can be published.",
        "Examined at 2026-12-01 18:28 UTC: archives can be published.",
        "Examined at 2026-12-01 19:28 UTC: archives can be published.",
    ]
    history = instance.event_log_storage.get_asset_check_execution_history(SENDER, limit=9)
    assert len(history) == 2, "each replaces those before the newest one"


def test_numbers_that_each_examination_measures_again_are_one_finding(
    instance: dg.DagsterInstance,
) -> None:
    """A clock, a disk, a transaction: a person who closed the incident got a mail again."""
    process = preflight_check._Process(  # noqa: SLF001  the examinations of one process
        RECEIVER.asset_key, lambda _: found, utc_now, "receiver", lambda *_: (), began=utc_now()
    )
    times = []
    for problem in (
        "4.9 % are free",
        "4.7 % are free",
        "column app_1 is absent",
        "app_2 is absent",
    ):
        found = Preflight(
            "receiver", (Finding(Level.ERROR, problem, "x", area="spool"),), (), None, 1
        )
        with dg.build_sensor_context(instance) as context:
            answer = process.tick(context)
        assert isinstance(answer, dg.SensorResult)
        (event,) = answer.asset_events
        assert isinstance(event, dg.AssetCheckEvaluation)
        times.append(unchanged_since(event))
    assert times[0] == times[1]
    assert len(set(times)) == 3


NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"AR_SYNC_RECEIVER_DATABASE_URL": NOWHERE}, "database-unreachable"),
        ({"AR_SYNC_TRANSFORM": "command:/nowhere/program"}, None),
        (
            {
                "AR_SYNC_RECEIVER_DATABASE_URL": NOWHERE,
                "AR_SYNC_TRANSFORM": "command:/nowhere/program",
            },
            None,
        ),
    ],
)
def test_finding_at_the_receiver_is_the_databases_only_if_nothing_else_is_wrong(
    deployment: Deployment,
    instance: dg.DagsterInstance,
    changes: dict[str, str],
    error: str | None,
) -> None:
    deployment.receiver_changes |= changes
    found = Process(deployment.receiver_definitions(), "receiver_preflight", instance).tick()
    assert isinstance(found, dg.AssetCheckEvaluation)
    assert not found.passed
    said = found.metadata.get("error")
    assert (said and said.value) == error


def test_finding_at_the_receiver_is_the_spools_if_that_is_all(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    definitions = deployment.receiver_definitions()
    deployment.spool.rename(deployment.spool.with_name("not_mounted"))
    found = Process(definitions, "receiver_preflight", instance).tick()
    assert isinstance(found, dg.AssetCheckEvaluation)
    assert found.metadata["error"].value == SPOOL.errors[0].code


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"AR_SYNC_SENDER_DATABASE_URL": NOWHERE}, "database-unreachable"),
        ({"AR_SYNC_REMOTE_BKP_FLDR": "/spoool"}, ENDPOINT.errors[0].code),
        (
            {"AR_SYNC_SENDER_DATABASE_URL": NOWHERE, "AR_SYNC_REMOTE_BKP_FLDR": "/spoool"},
            ENDPOINT.errors[0].code,
        ),
    ],
)
def test_finding_at_the_sender_is_the_links_or_the_databases_if_that_is_all(
    deployment: Deployment, instance: dg.DagsterInstance, changes: dict[str, str], error: str
) -> None:
    deployment.sender_changes |= changes
    found = Process(deployment.sender_definitions(), "sender_preflight", instance).tick()
    assert isinstance(found, dg.AssetCheckEvaluation)
    assert found.metadata["error"].value == error


@pytest.mark.long
def test_finding_stays_in_sight_after_a_load_and_no_load_waits_for_it(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    process = Process(deployment.receiver_definitions(), "receiver_preflight", instance)
    process.tick()
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    assert is_shown(instance, RECEIVER)
    assert isinstance(process.tick(), str), "it is shown already"


@pytest.mark.long
def test_finding_stays_while_a_lock_keeps_the_check_from_looking_again(
    deployment: Deployment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was "recovered" by whoever rebuilt the table, and mailed again afterwards."""
    monkeypatch.setattr(preflight_check, "AGAIN_AFTER_SECONDS", {True: 0.0, False: 0.0})
    monkeypatch.setattr(database_access, "_LONGEST_LOCK_WAIT", "100ms")
    with psycopg.connect(deployment.sender_url, autocommit=True) as other:
        other.execute("ALTER TABLE app_child ADD COLUMN rights aclitem")
        process = Process(deployment.sender_definitions(), "sender_preflight", instance)
        failed = process.tick()
        with other.transaction():
            other.execute("LOCK TABLE app_child")
            first, second = process.tick(), process.tick()
            restarted = Process(deployment.sender_definitions(), "sender_preflight", instance)
            after_restart = restarted.tick()
            by_hand = execute_check(deployment, instance, SENDER)
        other.execute("ALTER TABLE app_child DROP COLUMN rights")
    evaluations = [failed, first, second, after_restart, by_hand]
    assert all(isinstance(one, dg.AssetCheckEvaluation) and not one.passed for one in evaluations)
    (said,) = {one.description for one in evaluations if not isinstance(one, str)}
    assert "app_child" in str(said)
    times = [
        one.metadata.get(NOT_EXAMINED_SINCE) for one in evaluations if not isinstance(one, str)
    ]
    assert times[0] is None
    assert times[1] is not None
    assert times[1:] == [times[1]] * 4
    repaired = process.tick()
    assert isinstance(repaired, dg.AssetCheckEvaluation)
    assert repaired.passed, repaired.description


def test_lock_alone_fails_nothing(
    deployment: Deployment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_access, "_LONGEST_LOCK_WAIT", "100ms")
    with psycopg.connect(deployment.sender_url) as other:
        other.execute("LOCK TABLE app_child")
        process = Process(deployment.sender_definitions(), "sender_preflight", instance)
        found = process.tick()
    assert isinstance(found, dg.AssetCheckEvaluation)
    assert found.passed
    assert "lock timeout" in str(found.metadata["findings"].value)


@pytest.mark.long
def test_second_receiver_is_one_finding_that_ends_with_its_signs(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    process = Process(deployment.receiver_definitions(), "receiver_preflight", instance)
    assert getattr(process.tick(), "passed", False)
    (deployment.spool / "receipts").mkdir(exist_ok=True)
    found = []
    for age in (4, 2, 0):
        at = utc_now() - timedelta(minutes=age)
        signs = {"other of cluster 7": SignOfLife(since=at, at=at)}
        ReceiverMark(receivers=signs).write(deployment.spool, signing_keys=())
        found.append(process.tick())
    evaluations = [one for one in found if isinstance(one, dg.AssetCheckEvaluation)]
    assert [one.passed for one in evaluations] == [False] * 3
    assert all("database other of cluster 7 " in str(one.description) for one in evaluations)
    assert len({unchanged_since(one) for one in evaluations}) == 1
    assert ERROR not in evaluations[0].metadata, "its incident is not that of the spool"
    (deployment.spool / "receipts" / ReceiverMark.FILE).unlink()
    assert getattr(process.tick(), "passed", False)


def shown_after(instance: dg.DagsterInstance, told: Sequence[Preflight]) -> list[str | None]:
    """Return what the sensor shows after each of some examinations."""
    examined = iter(told)
    sensor = preflight_sensor(
        RECEIVER.asset_key,
        lambda _seconds: next(examined),
        name="examined",
        clock=lambda: datetime.now(UTC),
        side="receiver",
    )
    process = Process(dg.Definitions(sensors=[sensor]), "examined", instance)
    found = [process.tick() for _ in told]
    said = [one if isinstance(one, str) else one.description for one in found]
    # What passes begins with the time of the examination.
    return [one and re.sub(r"^Examined at \S+ \S+ UTC: ", "", one) for one in said]


def test_only_what_could_not_be_examined_stays(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An area that is examined again has recovered, whatever another one waits for."""
    monkeypatch.setattr(preflight_check, "AGAIN_AFTER_SECONDS", {True: 0.0, False: 0.0})
    rights = Finding(Level.ERROR, "no right", "grant it", area="database")
    program = Finding(Level.ERROR, "no program", "install it", area="transform")
    gone = Finding(Level.ERROR, "gone", "wait", area="database", unexamined=True)
    locked = Finding(Level.WARNING, "locked", "wait", area="database", unexamined=True)
    examined = [[rights, program], [gone], [locked], [locked, program], [], [locked]]
    told = [
        Preflight(
            "receiver",
            tuple(found),
            (),
            None,
            0.0,
            frozenset(f.area for f in found if f.unexamined),
        )
        for found in examined
    ]
    assert shown_after(instance, told) == [
        "no right: grant it. (1 more in the metadata)",
        "gone: wait. (1 more in the metadata)",
        "no right: grant it.",
        "no program: install it. (1 more in the metadata)",
        "archives can be loaded.",
        "archives can be loaded, as far as it could be examined, with 1 warning.",
    ]


def test_locked_table_keeps_only_what_was_found_of_itself(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right that was granted meanwhile has been examined, and the finding of it is untrue."""
    monkeypatch.setattr(preflight_check, "AGAIN_AFTER_SECONDS", {True: 0.0, False: 0.0})
    rights = Finding(Level.ERROR, "no right to a, b", "grant it", area="database")
    a, b = (
        Finding(Level.ERROR, f"{name} is unreadable", "alter it", area="database", table=name)
        for name in ("a", "b")
    )
    locked = Finding(Level.NOTE, "b is locked", "wait", area="database", unexamined=True, table="b")
    examined = [[rights, a, b], [locked], [locked], []]
    told = [Preflight("receiver", tuple(found), (), None, 0.0) for found in examined]
    assert shown_after(instance, told) == [
        "no right to a, b: grant it. (2 more in the metadata)",
        "b is unreadable: alter it.",
        "b is unreadable: alter it.",
        "archives can be loaded.",
    ]


def test_finding_stays_in_sight_after_a_test_of_the_endpoint(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    Process(deployment.sender_definitions(), "sender_preflight", instance).tick()
    with LocalRuns(deployment.home) as runs:
        assert runs.run(deployment.sender_definitions(), "ssh_sftp_checker").succeeded
    assert is_shown(instance, SENDER)


def test_finding_that_something_else_hides_is_recorded_again(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    process = Process(deployment.receiver_definitions(), "receiver_preflight", instance)
    process.tick()

    @dg.asset(key=RECEIVER.asset_key)
    def made_by_a_run() -> None: ...

    assert dg.materialize([made_by_a_run], instance=instance).success
    process.tick()
    assert dg.materialize([made_by_a_run], instance=instance).success
    assert not is_shown(instance, RECEIVER)
    again = process.tick()
    assert isinstance(again, dg.AssetCheckEvaluation)
    assert is_shown(instance, RECEIVER)
    shown = preflight_check.shown_preflight(instance, RECEIVER.asset_key)
    assert shown is not None
    first = examined_at(again)
    assert first is not None
    assert examined_at(evaluation_of(shown)) == first, "it was not examined again"


def test_operator_can_execute_the_check(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    deployment.receiver_changes["AR_SYNC_TRANSFORM"] = "command:/nowhere/program"
    process = Process(deployment.receiver_definitions(), "receiver_preflight", instance)
    failed = process.tick()
    assert isinstance(failed, dg.AssetCheckEvaluation)
    assert not failed.passed
    program = deployment.folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    deployment.receiver_changes["AR_SYNC_TRANSFORM"] = f"command:{program}"
    assert execute_check(deployment, instance, RECEIVER).passed


def test_preflight_that_fails_is_repeated_within_five_minutes() -> None:
    """The pages of the runbook promise it; only a tick repeats it."""
    again_seconds = preflight_check.AGAIN_AFTER_SECONDS[False]
    assert again_seconds > preflight_check.INTERVAL_SECONDS
    assert again_seconds + preflight_check.INTERVAL_SECONDS <= 300
