"""Rules 1, 3, 5, 6 and 7 on a receiver: one fact each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from ar_sync_pipeline.transform.transapp.nearest_stops import Stops, nearest_stops
from ar_sync_pipeline_tests.transform import oracle
from ar_sync_pipeline_tests.transform.receiver import CENTRE, NOON, Receiver, Row

SECOND = timedelta(seconds=1)


def _period(receiver: Receiver, created: datetime) -> tuple[str | None, str | None]:
    key = receiver.bus_event(created=created)
    receiver.transform()
    event = receiver.row("eventforbusv2", key)
    names = {row["id"]: row["name"] for row in receiver.rows("timeperiod")}
    halves = {row["id"]: row["name"] for row in receiver.rows("halfhourperiod")}
    return names.get(event["timePeriod_id"]), halves.get(event["halfHourPeriod_id"])


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        # Local midnight between Friday and Saturday is 03:00 or 04:00 UTC.
        (datetime(2026, 1, 10, 2, 59, 59, 999999, UTC), ("Laboral 22", "23:30")),
        (datetime(2026, 1, 10, 3, 0, tzinfo=UTC), ("Sábado 0", "00:00")),
        (datetime(2026, 6, 7, 3, 59, 59, 999999, UTC), ("Sábado 22", "23:30")),
        (datetime(2026, 6, 7, 4, 0, tzinfo=UTC), ("Domingo 0", "00:00")),
        # Clocks go back from 24:00 to 23:00 on Saturday, 4 April 2026, ...
        (datetime(2026, 4, 5, 2, 30, tzinfo=UTC), ("Sábado 22", "23:30")),
        (datetime(2026, 4, 5, 3, 30, tzinfo=UTC), ("Sábado 22", "23:30")),
        (datetime(2026, 4, 5, 4, 0, tzinfo=UTC), ("Domingo 0", "00:00")),
        # ... and forward from 24:00 to 01:00 on Saturday, 5 September 2026.
        (datetime(2026, 9, 6, 3, 59, 59, tzinfo=UTC), ("Sábado 22", "23:30")),
        (datetime(2026, 9, 6, 4, 0, tzinfo=UTC), ("Domingo 0", "01:00")),
        (datetime(2028, 2, 29, 15, 29, 59, 999999, UTC), ("Laboral 12", "12:00")),
        (datetime(2028, 3, 1, 2, 59, 59, tzinfo=UTC), ("Laboral 22", "23:30")),
    ],
)
def test_periods_follow_local_time_to_the_whole_second(
    receiver: Receiver, created: datetime, expected: tuple[str, str]
) -> None:
    assert _period(receiver, created) == expected


def test_an_event_without_a_period_is_rejected_and_transformed(receiver: Receiver) -> None:
    receiver.connection.execute(
        """UPDATE "AndroidRequests_timeperiod" SET day_type = upper(day_type)"""
    )
    assert _period(receiver, NOON) == (None, "12:00")
    (rejected,) = receiver.rejected()
    assert (rejected["step"], rejected["severity"], rejected["times"]) == (
        "time period",
        "error",
        1,
    )
    receiver.connection.execute(
        """UPDATE "AndroidRequests_timeperiod" SET day_type = initcap(day_type)"""
    )
    receiver.reset("eventforbusv2")
    receiver.transform()
    assert receiver.rejected() == []


@pytest.mark.parametrize("created", ["infinity", "-infinity", "4714-11-24 00:00:00Z BC"])
def test_a_timestamp_without_local_time_stops_no_batch(receiver: Receiver, created: str) -> None:
    odd, even = receiver.bus_event(), receiver.bus_event()
    receiver.connection.execute(
        'UPDATE "AndroidRequests_eventforbusv2" SET "timeCreation" = %s::timestamptz WHERE id = %s',
        (created, odd),
    )
    report = receiver.transform()
    assert report.handled["AndroidRequests_eventforbusv2"] == 2
    periods = receiver.connection.execute(
        'SELECT id FROM "AndroidRequests_eventforbusv2" WHERE "timePeriod_id" IS NOT NULL'
    ).fetchall()
    assert [row["id"] for row in periods] == [even]
    assert {row["primary_key"] for row in receiver.rejected()} == {str(odd)}


@pytest.mark.parametrize(
    ("position", "zone"),
    [
        ((0.5, 0.5), 2),
        ((0.0, 0.5), 2),
        ((0.0, 0.0), 2),
        ((1.5, 0.5), 2),
        ((2.0, 0.5), 2),
        ((2.5, 0.5), 7),
        ((3.0, 1.0), 7),
        ((3.1, 0.5), None),
        ((500.0, 0.5), None),
        ((float("nan"), 0.5), None),
        ((float("inf"), float("-inf")), None),
    ],
)
def test_zone_is_the_lowest_that_holds_the_position_border_included(
    geometry_receiver: Receiver, position: tuple[float, float], zone: int | None
) -> None:
    geometry_receiver.zone(7, shapely.box(1, 0, 3, 1))
    geometry_receiver.zone(2, shapely.box(0, 0, 2, 1))
    bus, stop = geometry_receiver.located_bus_event(position), geometry_receiver.stop_event()
    geometry_receiver.statistic(stop, position, kind="busstop")
    geometry_receiver.transform()
    assert geometry_receiver.row("eventforbusv2", bus)["zonification_id"] == zone
    assert geometry_receiver.row("eventforbusstop", stop)["zonification_id"] == zone


def test_a_hole_is_no_part_of_a_zone(geometry_receiver: Receiver) -> None:
    geometry_receiver.zone(1, shapely.box(0, 0, 3, 3) - shapely.box(1, 1, 2, 2))
    inside = geometry_receiver.located_bus_event((1.5, 1.5))
    geometry_receiver.transform()
    assert geometry_receiver.row("eventforbusv2", inside)["zonification_id"] is None


@pytest.mark.parametrize("wkb", ["0102", "010a00000000000000", None], ids=["cut", "curve", "none"])
def test_an_unreadable_zone_is_rejected_and_the_others_count(
    receiver: Receiver, wkb: str | None
) -> None:
    receiver.zone(1, shapely.box(0, 0, 1, 1))
    table = '"AndroidRequests_zonificationtransantiago"'
    receiver.connection.execute(f"ALTER TABLE {table} ALTER geom DROP NOT NULL".encode())
    receiver.connection.execute(f"UPDATE {table} SET geom = decode(%s, 'hex')".encode(), (wkb,))
    receiver.zone(2, shapely.box(0, 0, 1, 1))
    event = receiver.located_bus_event((0.5, 0.5))
    receiver.transform()
    assert receiver.row("eventforbusv2", event)["zonification_id"] == 2
    assert [row["primary_key"] for row in receiver.rejected()] == ["1"]


def test_position_is_that_of_the_latest_statistic_and_of_the_highest_id_among_equals(
    receiver: Receiver,
) -> None:
    for key in (1, 2, 3):
        receiver.zone(key, shapely.box(key, 0, key + 0.9, 1))
    event = receiver.bus_event()
    receiver.statistic(event, (1.5, 0.5), NOON - SECOND)
    receiver.statistic(event, (2.5, 0.5), NOON)
    receiver.statistic(event, (3.5, 0.5), NOON)
    receiver.statistic(event, (1.5, 0.5), NOON - 2 * SECOND)
    receiver.transform()
    assert receiver.row("eventforbusv2", event)["zonification_id"] == 3


def test_direction_is_that_of_the_latest_pose_not_after_the_event(receiver: Receiver) -> None:
    phone = uuid4()
    first, second, other = (
        receiver.token(phone, "I"),
        receiver.token(phone, "R"),
        receiver.token(uuid4(), "X"),
    )
    receiver.pose(first, NOON - 10 * SECOND)
    receiver.pose(second, NOON)
    receiver.pose(first, NOON + SECOND)
    receiver.pose(other, NOON)
    stamps = [NOON - 11 * SECOND, NOON - SECOND, NOON, NOON + SECOND]
    events = [receiver.bus_event(at, phone=phone) for at in stamps]
    receiver.transform()
    rows = [receiver.row("eventforbusv2", key)["direction"] for key in events]
    assert rows == [None, "I", "R", "I"]


def test_direction_of_equal_stamps_is_that_of_the_highest_pose(receiver: Receiver) -> None:
    phone = uuid4()
    late, early = receiver.token(phone, "I"), receiver.token(phone, None)
    receiver.pose(late, NOON, id=900)
    receiver.pose(early, NOON, id=901)
    event = receiver.bus_event(phone=phone)
    receiver.transform()
    assert receiver.row("eventforbusv2", event)["direction"] is None
    receiver.pose(late, NOON, id=902)
    receiver.reset("eventforbusv2")
    receiver.transform()
    assert receiver.row("eventforbusv2", event)["direction"] == "I"


def _codes(receiver: Receiver, event: int) -> tuple[str | None, str | None]:
    row: Row = receiver.row("eventforbusv2", event)
    return row["busStop1"], row["busStop2"]


def test_nearest_stops_are_measured_on_the_ground_not_in_degrees(receiver: Receiver) -> None:
    x, y = CENTRE
    version = receiver.gtfs()
    # 0.0011 degrees east are 102 m here, 0.0010 degrees north 111 m.
    receiver.stop("NORTH", (x, y + 0.0010), version)
    receiver.stop("EAST", (x + 0.0011, y), version)
    receiver.stop("FAR", (x, y + 0.0015), version)
    event = receiver.located_bus_event(CENTRE)
    receiver.transform()
    assert _codes(receiver, event) == ("EAST", "NORTH")


def test_only_stops_of_the_newest_gtfs_count_and_one_without_a_time_is_the_oldest(
    receiver: Receiver,
) -> None:
    old = receiver.gtfs("old", NOON - SECOND)
    new = receiver.gtfs("new", NOON)
    unknown = receiver.gtfs("unknown", None)
    for version, code in ((old, "OLD"), (new, "NEW"), (unknown, "NONE")):
        receiver.stop(code + "1", CENTRE, version)
        receiver.stop(code + "2", CENTRE, version)
    event = receiver.located_bus_event(CENTRE)
    receiver.transform()
    assert _codes(receiver, event) == ("NEW1", "NEW2")


def test_equally_near_stops_are_taken_in_the_order_of_their_codes(receiver: Receiver) -> None:
    version = receiver.gtfs()
    for code in ("PC", "PA", "pa", "PB"):
        receiver.stop(code, (CENTRE[0] + 0.001, CENTRE[1]), version)
    event = receiver.located_bus_event(CENTRE)
    receiver.transform()
    assert _codes(receiver, event) == ("PA", "PB")


def test_fewer_stops_than_two_leave_the_missing_ones_null(receiver: Receiver) -> None:
    event = receiver.located_bus_event(CENTRE)
    receiver.transform()
    assert _codes(receiver, event) == (None, None)
    receiver.stop("ONLY", CENTRE, receiver.gtfs())
    receiver.reset("eventforbusv2")
    receiver.transform()
    assert _codes(receiver, event) == ("ONLY", None)


def test_a_stop_gets_its_point_and_one_nowhere_on_earth_is_rejected(
    geometry_receiver: Receiver,
) -> None:
    version = geometry_receiver.gtfs()
    good = geometry_receiver.stop("GOOD", CENTRE, version, transformed=True)
    bad = geometry_receiver.stop("BAD", (float("nan"), 0), version)
    geometry_receiver.transform()
    assert shapely.from_wkb(geometry_receiver.row("busstop", good)["point"]) == shapely.Point(
        CENTRE
    )
    assert geometry_receiver.row("busstop", bad)["point"] is None
    assert [row["primary_key"] for row in geometry_receiver.rejected()] == [str(bad)]
    assert geometry_receiver.transform().handled == {}


_LONGITUDES = st.floats(-180, 180) | st.floats(-70.8, -70.5)
_LATITUDES = st.floats(-90, 90) | st.floats(-33.6, -33.3)


@pytest.mark.long
@given(
    st.lists(st.tuples(_LONGITUDES, _LATITUDES), min_size=1, max_size=40),
    st.lists(st.tuples(_LONGITUDES, _LATITUDES), min_size=1, max_size=10),
)
def test_no_stop_anywhere_on_earth_is_nearer_than_the_two_found(
    stops: list[tuple[float, float]], positions: list[tuple[float, float]]
) -> None:
    codes = np.array([f"{number:03}" for number in range(len(stops))], dtype=object)
    frame = pd.DataFrame(positions, columns=["longitude", "latitude"])
    found = nearest_stops(frame, Stops(codes, np.array(stops, dtype=float)))
    for position, row in zip(positions, found.itertuples(index=False), strict=True):
        distances = sorted(_straight_m(position, stop) for stop in stops)
        picked = [code for code in row if code is not None]
        assert len(picked) == len(set(picked)) == min(2, len(stops))
        for code, best in zip(picked, distances, strict=False):
            assert _straight_m(position, stops[int(code)]) == pytest.approx(best, abs=1e-4)


def _straight_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    corners = []
    for longitude, latitude in (one, other):
        x, y = np.radians(longitude), np.radians(latitude)
        a, b = 6378137.0, 6356752.314245179
        radius = a**2 / np.hypot(a * np.cos(y), b * np.sin(y))
        height = b**2 / a**2 * radius * np.sin(y)
        corners.append((radius * np.cos(y) * np.cos(x), radius * np.cos(y) * np.sin(x), height))
    return float(np.linalg.norm(np.subtract(corners[0], corners[1])))


@pytest.mark.parametrize("bearing", range(0, 360, 15))
def test_straight_lines_order_stops_as_the_ground_does(bearing: int) -> None:
    x, y = CENTRE
    angle = np.radians(bearing)
    stops = [
        (x + 0.01 * r * np.sin(angle + r), y + 0.01 * r * np.cos(angle + r)) for r in range(1, 30)
    ]
    by_ground = sorted(stops, key=lambda stop: oracle.ground_m(x, y, *stop))
    by_line = sorted(stops, key=lambda stop: _straight_m(CENTRE, stop))
    assert by_ground == by_line
