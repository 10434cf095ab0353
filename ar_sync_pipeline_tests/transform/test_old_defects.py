"""What went wrong in the old transform, each by its number: the same situation ends well."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import uuid4

import pytest

from ar_sync_pipeline.transform.errors import TransformTablesMissingError
from ar_sync_pipeline_tests.transform.receiver import CENTRE, NOON, Receiver

HERE = {"latitude": CENTRE[1], "longitude": CENTRE[0]}
BUS = json.dumps({"bus": {**HERE, "service": "507", "licensePlate": "BCDF12"}})


def test_d2_a_transform_that_cannot_start_is_an_error_and_not_a_success(
    empty_database: str,
) -> None:
    receiver = Receiver(empty_database)
    with pytest.raises(TransformTablesMissingError):
        receiver.transform()
    receiver.close()


def test_d3_stamps_of_any_session_time_zone_become_local_time(receiver: Receiver) -> None:
    receiver.connection.execute(
        """DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Asia/Tokyo''',
        current_database()); END $$"""
    )
    event = receiver.bus_event(NOON)
    receiver.transform()
    half = receiver.row("eventforbusv2", event)["halfHourPeriod_id"]
    assert receiver.row("halfhourperiod", half)["name"] == "12:00"


def test_d4_every_step_works_on_the_columns_that_the_migrations_left(receiver: Receiver) -> None:
    receiver.stop("PA1", CENTRE, receiver.gtfs())
    stop_event, bus_event = receiver.stop_event(), receiver.located_bus_event(CENTRE)
    receiver.transform()
    assert receiver.row("eventforbusstop", stop_event)["transformed"]
    assert receiver.row("eventforbusv2", bus_event)["transformed"]


def test_d5_nearest_stops_are_codes_and_two_gtfs_versions_are_no_obstacle(
    receiver: Receiver,
) -> None:
    for version in (receiver.gtfs("v1"), receiver.gtfs("v2")):
        receiver.stop("PA1", CENTRE, version)
        receiver.stop("PB2", (CENTRE[0], CENTRE[1] + 0.001), version)
    event = receiver.located_bus_event(CENTRE)
    receiver.transform()
    row = receiver.row("eventforbusv2", event)
    assert (row["busStop1"], row["busStop2"]) == ("PA1", "PB2")


def test_d8_d30_rows_of_any_age_are_transformed_independent_of_their_archive(
    receiver: Receiver,
) -> None:
    ages = [NOON - timedelta(days=days) for days in (0, 1, 400, 4000)]
    for at in ages:
        receiver.bus_event(at)
        receiver.stop_event(at)
        receiver.report(BUS, at)
    receiver.transform()
    for table in ("busv2", "eventforbusv2", "eventforbusstop", "report", "reportinfo"):
        assert all(row["transformed"] for row in receiver.rows(table)), table
    assert len(receiver.rows("reportinfo")) == len(ages)


def test_d23_a_report_handled_twice_has_one_row_and_old_duplicates_go(receiver: Receiver) -> None:
    report = receiver.report(BUS)
    values = {"longitude": 0, "latitude": 0, "report_id": report, "registrationPlate": "x"}
    first = receiver.insert("reportinfo", reportType="bus", transformed=True, **values)
    receiver.insert("reportinfo", reportType="bus", transformed=True, **values)
    for _ in range(2):
        receiver.reset("report")
        receiver.transform()
        (row,) = receiver.rows("reportinfo")
        assert (row["id"], row["registrationPlate"]) == (first, "BC DF 12")


def test_d24_time_period_and_half_hour_read_the_same_local_clock(receiver: Receiver) -> None:
    # Friday 23:30 in Santiago is Saturday 03:30 in UTC.
    event = receiver.stop_event(NOON + timedelta(days=2, hours=11, minutes=30))
    receiver.transform()
    row = receiver.row("eventforbusstop", event)
    assert receiver.row("timeperiod", row["timePeriod_id"])["name"] == "Laboral 22"
    assert receiver.row("halfhourperiod", row["halfHourPeriod_id"])["name"] == "23:30"


def test_d25_report_info_gets_its_direction(receiver: Receiver) -> None:
    phone = uuid4()
    receiver.pose(receiver.token(phone, "I"), NOON)
    receiver.report(BUS, phone=phone)
    receiver.transform()
    assert [row["direction"] for row in receiver.rows("reportinfo")] == ["I"]


@pytest.mark.parametrize("latitude", [r"\/-33.45", "/-33.45", "-33.45"])
def test_d26_the_persons_latitude_is_stored_with_its_sign(
    receiver: Receiver, latitude: str
) -> None:
    location = {"latitude": latitude, "longitude": r"\/-70.65"}
    receiver.report(json.dumps({"locationUser": location, "bus": HERE}))
    receiver.transform()
    (row,) = receiver.rows("reportinfo")
    assert (row["userLatitude"], row["userLongitude"]) == (-33.45, -70.65)


@pytest.mark.parametrize(
    "text",
    ["not json", "null", json.dumps({"bus": {**HERE, "service": None}}), json.dumps({"bus": HERE}),
     json.dumps({"bus": {**HERE, "service": 507, "machineId": str(uuid4())}}),
     json.dumps({"bus": {**HERE, "licensePlate": "ABCD123"}}),
     json.dumps({"bus_stop": {**HERE, "id": "PA12345"}}),
     json.dumps({"locationUser": None, "bus": HERE}),
     json.dumps({"bus": {**HERE, "service": "a\0b", "licensePlate": "\ud800"}})],
)  # fmt: skip
def test_d27_a_report_of_any_form_stops_no_report_and_no_step_after_it(
    receiver: Receiver, text: str
) -> None:
    bad, good, event = receiver.report(text), receiver.report(BUS), receiver.bus_event()
    report = receiver.transform()
    assert report.batches == 3  # buses, bus events, reports: nothing had to be halved
    assert {row["id"] for row in receiver.rows("report") if row["transformed"]} == {bad, good}
    assert good in {row["report_id"] for row in receiver.rows("reportinfo")}
    assert receiver.row("eventforbusv2", event)["transformed"]


def test_d28_half_a_position_of_the_person_is_none_and_poisons_no_later_run(
    receiver: Receiver,
) -> None:
    location = {"latitude": "north", "longitude": "-70.65"}
    report = receiver.report(json.dumps({"locationUser": location, "bus": HERE}))
    # A row that the old system left: an untransformed row with half a position.
    receiver.insert(
        "reportinfo", reportType="bus", registrationPlate="x", report_id=report,
        longitude=0, latitude=0, userLongitude=-70.65, transformed=False,
    )  # fmt: skip
    receiver.connection.execute('UPDATE "AndroidRequests_report" SET transformed = true')
    receiver.transform()
    (row,) = receiver.rows("reportinfo")
    assert (row["userLatitude"], row["userLongitude"], row["zonification_id"]) == (None, None, None)
    assert row["transformed"]
    assert receiver.transform().handled == {}


def test_d29_an_event_without_statistics_and_a_stop_without_a_point_are_no_obstacle(
    geometry_receiver: Receiver,
) -> None:
    stop = geometry_receiver.stop("PA1", CENTRE, geometry_receiver.gtfs())
    lonely, located = geometry_receiver.bus_event(), geometry_receiver.located_bus_event(CENTRE)
    geometry_receiver.transform()
    assert geometry_receiver.row("busstop", stop)["point"] is not None
    row = geometry_receiver.row("eventforbusv2", lonely)
    assert (row["transformed"], row["busStop1"], row["zonification_id"]) == (True, None, None)
    assert row["timePeriod_id"] is not None
    assert geometry_receiver.row("eventforbusv2", located)["busStop1"] == "PA1"
    assert geometry_receiver.rejected() == []


def test_d30_what_one_failed_run_left_the_next_one_takes(receiver: Receiver) -> None:
    event = receiver.bus_event(NOON - timedelta(days=30))
    receiver.connection.execute('ALTER TABLE "AndroidRequests_gtfs" RENAME TO elsewhere')
    with pytest.raises(TransformTablesMissingError):
        receiver.transform()
    receiver.connection.execute('ALTER TABLE elsewhere RENAME TO "AndroidRequests_gtfs"')
    receiver.transform()
    assert receiver.row("eventforbusv2", event)["transformed"]
