"""Rules 2 and 4 on a receiver: plates of buses, and the row that each report gets."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from ar_sync_pipeline.transform.transapp.report_info import MAX_TEXT_BYTES
from ar_sync_pipeline_tests.transform import oracle
from ar_sync_pipeline_tests.transform.receiver import CENTRE, NOON, Receiver, Row
from ar_sync_pipeline_tests.transform.test_report_info import TEXTS

HERE = {"latitude": CENTRE[1], "longitude": CENTRE[0]}
MACHINE = UUID("c71200a1-6c4f-411d-81dc-bfcb4d51d383")


def _bus_text(**values: object) -> str:
    return json.dumps({"bus": {**HERE, "service": "507", **values}})


def _info(receiver: Receiver, report: int) -> Row:
    (row,) = (row for row in receiver.rows("reportinfo") if row["report_id"] == report)
    return row


@pytest.mark.parametrize(
    ("plate", "formatted"),
    [
        ("bcdf12", "BC DF 12"),
        ("BC1234", "BC 12 34"),
        ("dummyLPT", "No Info."),
        ("BC DF 12", "BC DF 12"),
        ("BCDF123", "BCDF123"),
        ("ñcdf12", "ñcdf12"),
        ("BCDF1٢", "BCDF1٢"),
        ("BCDF12\n", "BCDF12\n"),
        ("BCD123", "BCD123"),
        ("", ""),
    ],
)
def test_a_plate_of_the_two_known_forms_is_written_with_blanks(
    receiver: Receiver, plate: str, formatted: str
) -> None:
    bus = receiver.bus(plate)
    report = receiver.transform()
    row = receiver.row("busv2", bus)
    assert (row["registrationPlate"], row["transformed"]) == (formatted, True)
    assert report.rows["plates"] == (plate != formatted)


def test_a_report_finds_its_bus_by_uuid_and_takes_its_present_plate(receiver: Receiver) -> None:
    receiver.bus("bcdf12", uuid=MACHINE)
    report = receiver.report(_bus_text(machineId=str(MACHINE), licensePlate="ZZZZ99"))
    receiver.transform()
    row = _info(receiver, report)
    assert (row["busUUID"], row["registrationPlate"]) == (MACHINE, "BC DF 12")


def test_a_report_without_machine_id_finds_the_only_bus_with_its_plate(receiver: Receiver) -> None:
    receiver.bus("bcdf12", uuid=MACHINE)
    receiver.bus("GHJK34")
    receiver.bus("ghjk34")
    one = receiver.report(_bus_text(licensePlate="BCDF12"))
    two = receiver.report(_bus_text(licensePlate="ghjk34", machineId=""))
    receiver.transform()
    assert _info(receiver, one)["busUUID"] == MACHINE
    assert _info(receiver, two)["busUUID"] is None
    assert _info(receiver, two)["registrationPlate"] == "GH JK 34"
    assert receiver.rejected() == []


def test_a_bus_that_is_loaded_during_the_run_has_its_formatted_plate_in_reports(
    receiver: Receiver,
) -> None:
    # The load commits after the transform has handled buses, and before it looks for reports.
    receiver.bus_event()
    named, plated = _bus_text(machineId=str(MACHINE)), _bus_text(licensePlate="ghjk34")
    receiver.connection.execute(
        sql.SQL(
            """CREATE FUNCTION load() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              INSERT INTO "AndroidRequests_busv2" (id, "registrationPlate", uuid)
                VALUES (91, 'GHJK34', {machine});
              INSERT INTO "AndroidRequests_report"
                  (id, "timeStamp", message, "reportInfo", "phoneId")
                VALUES (92, now(), '', {named}, {machine}), (93, now(), '', {plated}, {machine});
              RETURN NULL; END $$;
            CREATE TRIGGER load AFTER UPDATE ON "AndroidRequests_eventforbusv2"
              EXECUTE FUNCTION load()"""
        ).format(machine=str(MACHINE), named=named, plated=plated)
    )
    receiver.transform()
    assert receiver.row("busv2", 91)["registrationPlate"] == "GHJK34"
    for report in (92, 93):
        row = _info(receiver, report)
        assert (row["busUUID"], row["registrationPlate"]) == (MACHINE, "GH JK 34")


def test_an_unknown_bus_is_a_detail_that_goes_when_the_bus_arrives(receiver: Receiver) -> None:
    report = receiver.report(_bus_text(machineId=str(MACHINE), licensePlate="BCDF12"))
    receiver.transform()
    before = _info(receiver, report)
    assert (before["busUUID"], before["registrationPlate"]) == (None, "BC DF 12")
    assert [row["severity"] for row in receiver.rejected()] == ["info"]

    receiver.bus("GHJK34", uuid=MACHINE)
    receiver.reset("report")
    receiver.transform()
    after = _info(receiver, report)
    assert (after["busUUID"], after["registrationPlate"]) == (MACHINE, "GH JK 34")
    assert after["id"] == before["id"]
    assert receiver.rejected() == []


def test_a_report_about_a_stop_names_the_stop_and_no_bus(geometry_receiver: Receiver) -> None:
    geometry_receiver.zone(4, shapely.Point(CENTRE).buffer(0.1))
    text = json.dumps({"locationUser": HERE, "busStop": {"id": "PA1", **HERE}})
    report = geometry_receiver.report(text)
    geometry_receiver.transform()
    row = _info(geometry_receiver, report)
    assert (row["reportType"], row["stopCode"], row["registrationPlate"]) == ("busStop", "PA1", "")
    assert (row["zonification_id"], row["busUUID"], row["service"]) == (4, None, None)
    assert row["transformed"]


def test_a_report_whose_text_no_longer_speaks_of_a_bus_loses_its_row(receiver: Receiver) -> None:
    report = receiver.report(_bus_text())
    receiver.transform()
    receiver.connection.execute(
        """UPDATE "AndroidRequests_report" SET "reportInfo" = '{}', transformed = NULL"""
    )
    receiver.transform()
    assert receiver.rows("reportinfo") == []
    assert receiver.row("report", report)["transformed"]


def test_a_text_of_megabytes_is_rejected_without_being_read(receiver: Receiver) -> None:
    longest = _bus_text(note="")
    longest = _bus_text(note="x" * (MAX_TEXT_BYTES - len(longest)))
    fits, too_long = receiver.report(longest), receiver.report(longest + " ")
    receiver.transform()
    assert [row["report_id"] for row in receiver.rows("reportinfo")] == [fits]
    assert [row["primary_key"] for row in receiver.rejected()] == [str(too_long)]


def test_a_report_of_a_bus_gets_the_direction_of_its_phone(receiver: Receiver) -> None:
    phone = uuid4()
    receiver.pose(receiver.token(phone, "R"), NOON)
    bus = receiver.report(_bus_text(), phone=phone)
    stop = receiver.report(json.dumps({"bus_stop": HERE}), phone=phone)
    receiver.transform()
    assert _info(receiver, bus)["direction"] == "R"
    assert _info(receiver, stop)["direction"] is None


# What PostgreSQL's text can hold; JSON may spell the rest by escapes.
_STORABLE = TEXTS.filter(lambda text: not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text))


@pytest.mark.long
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(_STORABLE, min_size=20, max_size=60))
def test_any_reports_are_all_transformed_with_a_row_or_an_error_and_twice_the_same(
    receiver: Receiver, texts: list[str]
) -> None:
    for table in ("reportinfo", "report", "busv2"):
        receiver.connection.execute(f'DELETE FROM "AndroidRequests_{table}"'.encode())
    receiver.bus("bcdf12", uuid=MACHINE)  # found by uuid and, once, by plate
    reports = {receiver.report(text): text for text in texts}
    done = receiver.transform()
    first, rejected = receiver.rows("reportinfo"), receiver.rejected()
    errors = [int(row["primary_key"]) for row in rejected if row["severity"] == "error"]
    assert done.batches == 2  # buses, reports: nothing had to be halved
    assert all(row["transformed"] for row in receiver.rows("report"))
    buses = receiver.rows("busv2")
    quiet = {key for key, text in reports.items() if oracle.says_nothing(text)}
    with_row = {key for key, text in reports.items() if oracle.report_info(text, buses)}
    assert [row["report_id"] for row in first] == sorted(with_row)
    assert sorted(errors) == sorted(reports.keys() - with_row - quiet)

    receiver.reset("report")
    receiver.transform()
    assert receiver.rows("reportinfo") == first
    assert [row["times"] for row in receiver.rejected()] == [2] * len(rejected)
