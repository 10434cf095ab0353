"""Failing schedules, sensors and checks are reported once, by the side that they belong to."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import time_machine
from dagster._core.errors import DagsterCodeLocationLoadError, DagsterUserCodeUnreachableError
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._grpc.__generated__.dagster_api_pb2 import PingRequest
from dagster._grpc.client import DagsterGrpcClient
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster_shared.error import SerializableErrorInfo

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.operations.asset_keys import applied_archives_key, archive_key, endpoint_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.spool.errors import SpoolMissingError
from ar_sync_pipeline_tests.alerts.watched import Watched
from ar_sync_pipeline_tests.fix_alerts import silent_server


def tick(
    watched: Watched,
    name: str,
    error: str | None,
    cls_name: str = "ValueError",
    cause: str | None = None,
) -> None:
    """A finished tick of a sensor, as the daemon writes it."""
    system = cause and SerializableErrorInfo(f"{cause}\n", [], cause.partition(":")[0])
    failure = error and SerializableErrorInfo(
        "dagster.SensorExecutionError: in the evaluation", [], "SensorExecutionError",
        cause=SerializableErrorInfo(
            f"some.module.{cls_name}: {error}\n", [], cls_name, cause=system or None
        ),
    )  # fmt: skip
    write_tick(watched, name, failure or None)


def write_tick(watched: Watched, name: str, failure: SerializableErrorInfo | None) -> None:
    location = GrpcServerCodeLocationOrigin(host="viz", port=4000, location_name="receiver")
    origin = RemoteInstigatorOrigin(
        repository_origin=RemoteRepositoryOrigin(location, "__repository__"), instigator_name=name
    )
    state = InstigatorState(
        origin,
        InstigatorType.SENSOR,
        InstigatorStatus.DECLARED_IN_CODE,
        SensorInstigatorData(min_interval=10),
    )
    with watched.instance() as instance:
        if not instance.get_instigator_state(state.instigator_origin_id, state.selector_id):
            instance.add_instigator_state(state)
        instance.create_tick(
            TickData(
                instigator_origin_id=state.instigator_origin_id,
                instigator_name=name,
                instigator_type=InstigatorType.SENSOR,
                status=TickStatus.FAILURE if failure else TickStatus.SKIPPED,
                timestamp=time.time(),
                selector_id=state.selector_id,
                error=failure,
            )
        )


def evaluate(
    watched: Watched,
    key: dg.AssetKey,
    name: str,
    description: str | None = None,
    **metadata: str,
) -> None:
    """An evaluation of a check outside any run; with a description it failed."""
    with watched.instance() as instance:
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=name,
                passed=description is None,
                severity=dg.AssetCheckSeverity.WARN,
                description=description,
                metadata=metadata,
            )
        )


def test_mail_names_the_page_of_the_finding_in_place_of_that_of_the_check(bare: Watched) -> None:
    evaluate(
        bare, applied_archives_key(ALONE), "archives_loaded", "one.", runbook_page="delete_guard"
    )
    evaluate(bare, applied_archives_key(ALONE), "no_holes", "one gap.")
    bare.tick_both()
    guard, gap = (bare.text(0), bare.text(1))
    assert "docs/runbook/delete_guard.md" in guard
    assert "archive_parked" not in guard
    assert "docs/runbook/gap_in_windows.md" in gap


def test_guarded_archive_is_mailed_although_another_archive_is_parked(bare: Watched) -> None:
    key, name = applied_archives_key(ALONE), "archives_loaded"
    evaluate(bare, key, name, "one is parked.")
    bare.tick_both()
    evaluate(bare, key, name, "one is parked. two is guarded.", incident="delete guard")
    bare.tick_both()
    evaluate(bare, key, name, "one is parked. two is guarded.", incident="delete guard")
    bare.tick_both()
    evaluate(bare, key, name)
    bare.tick_both()
    assert [subject.split(": ")[0].partition("] ")[2] for subject in bare.subjects] == [
        "Failing", "Failing", "Recovered", "Recovered",
    ]  # fmt: skip
    assert "two is guarded" in bare.text(1)


def test_incident_of_the_guard_ends_with_the_guard_although_the_check_still_fails(
    bare: Watched,
) -> None:
    key, name = applied_archives_key(ALONE), "archives_loaded"
    both = "one waits for its schema. two is guarded."
    evaluate(bare, key, name, both, incident="delete guard")
    bare.tick_both()
    for _ in range(2):
        evaluate(bare, key, name, "one waits for its schema.")
        bare.tick_both()
    assert [subject.split(": ")[0].partition("] ")[2] for subject in bare.subjects] == [
        "Failing", "Recovered", "Failing",
    ]  # fmt: skip
    assert "two is guarded" in bare.text(1)
    assert "It is closed; nothing more is sent about it." in bare.text(1)


def test_check_that_cannot_be_evaluated_says_nothing_about_the_guard(bare: Watched) -> None:
    key, name = applied_archives_key(ALONE), "archives_loaded"
    evaluate(bare, key, name, "two is guarded.", incident="delete guard")
    bare.tick_both()
    evaluate(bare, key, name, "no answer.", error="database-unreachable")
    bare.tick_both()
    assert [subject.split(": ")[0].partition("] ")[2] for subject in bare.subjects] == [
        "Failing", "Failing",
    ]  # fmt: skip
    evaluate(bare, key, name, "one waits for its schema.")
    bare.tick_both()
    assert len([one for one in bare.subjects if "] Recovered: " in one]) == 2


def test_sensor_that_fails_is_reported_once_and_only_by_its_side(bare: Watched) -> None:
    for number in range(3):
        tick(bare, "new_partial_archives", f"cannot count to {number}")
        bare.tick_both()
    (subject,) = bare.subjects
    assert subject.startswith("[ar_sync receiver] Failing: sensor new_partial_archives: cannot")
    tick(bare, "new_partial_archives", None)
    bare.tick_both()
    assert bare.subjects[1:] == ["[ar_sync receiver] Recovered: sensor new_partial_archives"]
    assert "2 more times" in bare.text(1)


def test_tick_that_failed_and_worked_at_once_again_is_no_news(bare: Watched) -> None:
    tick(bare, "new_partial_archives", "a blink")
    tick(bare, "new_partial_archives", None)
    bare.tick_both()
    assert bare.subjects == []


def test_blink_of_dagsters_storage_is_reported_only_if_a_later_tick_fails_too(
    bare: Watched,
) -> None:
    for name in ("new_partial_archives", "data_age"):
        tick(bare, name, None)
        tick(bare, name, "database is locked", "OperationalError")
    bare.tick_both()
    assert bare.subjects == []
    tick(bare, "new_partial_archives", None)
    tick(bare, "new_partial_archives", "database is locked", "OperationalError")
    tick(bare, "data_age", None)
    bare.tick_both()
    (subject,) = bare.subjects
    assert subject.endswith("Failing: sensor new_partial_archives: database is locked")
    tick(bare, "new_partial_archives", None)
    bare.tick_both()
    assert len(bare.subjects) == 2


def failure_of_a_tick(port: int, seconds: int) -> SerializableErrorInfo:
    """Return the error that a daemon stores if a code server does not answer a tick."""
    try:
        try:
            client = DagsterGrpcClient(port=port, host="127.0.0.1")
            client._query("Ping", PingRequest, timeout=seconds, echo="")  # noqa: SLF001  the timeout
        except DagsterUserCodeUnreachableError as error:
            raise DagsterUserCodeUnreachableError("Unable to reach the server") from error
    except DagsterUserCodeUnreachableError:
        return serializable_error_info_from_exc_info(sys.exc_info())
    pytest.fail("a server answers")


def test_ticks_while_the_code_server_was_down_are_no_news_when_it_is_back(bare: Watched) -> None:
    for name in ("new_partial_archives", "data_age"):
        write_tick(bare, name, failure_of_a_tick(free_port(), 5))
    bare.tick_both()
    assert bare.subjects == []


def failure_of_a_location(said: str) -> SerializableErrorInfo:
    """Return the error that a daemon stores if it knows already that a location cannot load."""
    cause = SerializableErrorInfo(said, [], DagsterCodeLocationLoadError.__name__)
    unable = "Unable to reach the server"
    return SerializableErrorInfo(unable, [], DagsterUserCodeUnreachableError.__name__, cause)


@pytest.mark.parametrize(
    "said",
    [
        "Failure loading receiver: Could not reach user code server. gRPC Error code: UNAVAILABLE",
        "Failure loading receiver: the settings cannot be used",
    ],
)
def test_location_that_could_not_be_loaded_is_no_news_when_it_is(bare: Watched, said: str) -> None:
    for name in ("new_partial_archives", "data_age", "receiver_preflight"):
        write_tick(bare, name, failure_of_a_location(said))
    bare.tick_both()
    assert bare.subjects == []


@pytest.mark.long
def test_one_tick_that_takes_too_long_is_reported_if_the_next_one_does_too(bare: Watched) -> None:
    tick(bare, "data_age", None)
    with silent_server() as port:
        too_long = failure_of_a_tick(port, 1)
    write_tick(bare, "data_age", too_long)
    bare.tick_both()
    assert bare.subjects == []
    write_tick(bare, "data_age", too_long)
    bare.tick_both()
    (subject,) = bare.subjects
    assert subject.endswith(
        "data_age: User code server request timed out due to taking longer"
        " than 1 seconds to complete"
    )


def test_stack_in_the_message_of_an_error_is_not_told(bare: Watched) -> None:
    tick(bare, "new_partial_archives", "it broke.\n\nStack Trace:\n  File x, line 1", "OddError")
    bare.tick_both()
    (subject,) = bare.subjects
    assert subject.endswith("Failing: sensor new_partial_archives: it broke")


def test_tick_that_takes_too_long_is_reported(bare: Watched) -> None:
    with silent_server() as port:
        write_tick(bare, "data_age", failure_of_a_tick(port, 1))
    bare.tick_both()
    (subject,) = bare.subjects
    assert subject.startswith("[ar_sync receiver] Failing: sensor data_age: ")


def test_sensors_that_fail_because_the_spool_is_gone_are_one_cause(bare: Watched) -> None:
    for name in ("new_partial_archives", "new_complete_archives"):
        tick(bare, name, "the spool /x does not exist: mount it.", "SpoolMissingError")
    bare.tick_both()
    (subject,) = bare.subjects
    assert subject == "[ar_sync receiver] Failing: the spool: the spool /x does not exist: mount it"
    assert "docs/runbook/spool_cannot_be_used.md" in bare.text(0)
    tick(bare, "new_partial_archives", None)
    tick(bare, "new_complete_archives", None)
    bare.tick_both()
    assert len(bare.subjects) == 2


BROKEN = {
    "the spool": (
        "new_partial_archives",
        "SpoolAccessError",
        "PermissionError: [Errno 13] Permission denied: '/x/partial'",
    ),
    "the receiver's database": (
        "new_partial_archives",
        "DatabaseRefusedError",
        "OperationalError: password authentication failed",
    ),
    "the connection to the receiver": (
        "complete_for_receiver",
        "LoginRefusedError",
        "PermissionDenied: Permission denied",
    ),
}


@pytest.mark.parametrize("title", BROKEN)
def test_error_of_the_product_is_told_and_not_the_one_that_it_explains(
    bare: Watched, title: str
) -> None:
    name, cls_name, cause = BROKEN[title]
    tick(bare, name, "x cannot be used: correct y.", cls_name, cause)
    bare.tick_both()
    (subject,) = bare.subjects
    assert subject.endswith(f"Failing: {title}: x cannot be used: correct y")


def test_error_that_is_not_the_products_is_told_by_what_began_it(bare: Watched) -> None:
    tick(bare, "new_partial_archives", "a wrapper", "RuntimeError", "KeyError: 'the first'")
    bare.tick_both()
    (subject,) = bare.subjects
    assert subject.endswith("Failing: sensor new_partial_archives: 'the first'")


def test_spool_that_the_sender_does_not_find_is_the_connection(bare: Watched) -> None:
    tick(bare, "complete_for_receiver", "no spool there.", "RemoteSpoolMissingError")
    bare.tick_both()
    (subject,) = bare.subjects
    assert subject == "[ar_sync sender] Failing: the connection to the receiver: no spool there"


@pytest.mark.parametrize(
    ("error", "page"),
    [
        ("ChangedHostKeyError", "host_key_changed"),
        ("RemoteSpoolMissingError", "spool_cannot_be_used"),
        ("LoginRefusedError", "link_down"),
    ],
)
def test_mail_names_the_page_about_its_error(bare: Watched, error: str, page: str) -> None:
    tick(bare, "complete_for_receiver", "no connection.", error)
    bare.tick_both()
    assert f"docs/runbook/{page}.md" in bare.text(0)


def test_check_that_fails_by_an_outage_names_the_page_about_that(bare: Watched) -> None:
    error = SpoolMissingError(Path("/x"))
    evaluate(
        bare,
        applied_archives_key(ALONE),
        "up_to_date",
        error.problem,
        error=error.code,
        runbook_page="receiver_is_behind",
    )
    bare.tick_both()
    assert bare.subjects[0].startswith("[ar_sync receiver] Failing: the spool: ")
    assert "docs/runbook/spool_cannot_be_used.md" in bare.text(0)


def test_check_is_an_incident_from_failing_to_passing(bare: Watched) -> None:
    evaluate(bare, applied_archives_key(ALONE), "no_holes")
    bare.tick_both()
    assert bare.subjects == []
    for _ in range(2):
        evaluate(bare, applied_archives_key(ALONE), "no_holes", "one gap from 12:00 to 12:05.")
        bare.tick_both()
    (subject,) = bare.subjects
    assert subject == (
        "[ar_sync receiver] Failing: check receiver/applied_archives: no_holes:"
        " one gap from 12:00 to 12:05"
    )
    assert "an archive was lost on the way" in bare.text(0)
    evaluate(bare, applied_archives_key(ALONE), "no_holes")
    bare.tick_both()
    assert "Recovered: check receiver/applied_archives: no_holes" in bare.subjects[1]


def test_remedy_of_a_finding_is_told_once_and_in_place_of_the_general_one(bare: Watched) -> None:
    loaded = (applied_archives_key(ALONE), "archives_loaded")
    evaluate(bare, *loaded)
    bare.tick_both()
    evaluate(
        bare,
        *loaded,
        "x.tar is kept: run `ar-sync allow x.tar`.",
        remedy="run `ar-sync allow x.tar`",
    )
    bare.tick_both()
    (subject,) = bare.subjects
    assert subject.endswith("archives_loaded: x.tar is kept")
    assert "To do  run `ar-sync allow x.tar`\r\n" in bare.text(0)
    assert bare.text(0).count("ar-sync allow") == 1


def test_check_that_failed_and_passed_between_two_ticks_is_still_reported(
    bare: Watched,
) -> None:
    evaluate(bare, applied_archives_key(ALONE), "no_drift")
    bare.tick_both()
    evaluate(bare, applied_archives_key(ALONE), "no_drift", "3 rows of app_child")
    evaluate(bare, applied_archives_key(ALONE), "no_drift")
    bare.tick_both()
    assert [subject.split()[2] for subject in bare.subjects] == ["Failing:", "Recovered:"]


def test_ticks_and_checks_are_reported_after_the_clock_was_set_back(bare: Watched) -> None:
    check = (applied_archives_key(ALONE), "no_drift")
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=3), tick=True):
        evaluate(bare, *check)
        tick(bare, "data_age", None)
        bare.tick_both()
    evaluate(bare, *check, "3 rows of app_child")
    tick(bare, "data_age", "cannot count")
    bare.tick_both()
    assert [s.split(": ")[1] for s in bare.subjects] == [
        "check receiver/applied_archives", "sensor data_age"
    ]  # fmt: skip
    evaluate(bare, *check)
    tick(bare, "data_age", None)
    for _ in range(2):
        bare.tick_both()
    assert [s.split()[2] for s in bare.subjects[2:]] == ["Recovered:", "Recovered:"]


def test_silence_of_the_receiver_is_not_reported_while_it_cannot_be_reached(bare: Watched) -> None:
    endpoint = (endpoint_key(ALONE), "archives_can_be_published")
    acknowledged = (archive_key(ArchiveKind.PARTIAL, ALONE), "acknowledged")
    evaluate(bare, *endpoint, "connect: refused")
    evaluate(bare, *acknowledged, "Nothing was heard of 3 archives.")
    bare.tick_both()
    assert [s.partition(": ")[2] for s in bare.subjects] == [
        "the connection to the receiver: connect: refused"
    ]
    evaluate(bare, *endpoint)
    bare.tick_both()
    evaluate(bare, *acknowledged, "Nothing was heard of 4 archives.")
    bare.tick_both()
    assert [s.split(": ")[0].split()[-1] for s in bare.subjects] == [
        "Failing", "Recovered", "Failing"
    ]  # fmt: skip


def test_test_that_finds_receipts_unreadable_has_found_the_connection_to_work(
    bare: Watched,
) -> None:
    endpoint = (endpoint_key(ALONE), "archives_can_be_published")
    evaluate(bare, *endpoint, "connect: refused", step="connect")
    bare.tick_both()
    evaluate(bare, *endpoint, "receipts readable: no", step="receipts readable", error="receipt")
    bare.tick_both()
    assert [s.partition("] ")[2] for s in bare.subjects] == [
        "Failing: the connection to the receiver: connect: refused",
        "Recovered: the connection to the receiver",
        "Failing: the receiver's receipts: receipts readable: no",
    ]
    evaluate(bare, *endpoint, "connect: refused", step="connect")
    bare.tick_both()
    assert len([s for s in bare.subjects if "Recovered" in s]) == 1, "the receipts are not read"
